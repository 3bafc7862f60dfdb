-- The verdict in force, one row per workload and candidate (the endpoint's name), with its gates as a JSON list. proven: it is
-- among the PROMOTE (ROLLBACK) of which, over all workloads, at most a share alpha is wrong on average (e-BH).
-- after_data: the margins were set when data had come already. late_calls came after their conversation was judged.
-- drift: alarms after the cutover, which are no comparisons, as a JSON list.
-- pairs: conversations with shadow pairs that were folded; late_pairs: those, or single pairs of them, that came too late.
CREATE OR REPLACE VIEW v_verdicts AS
SELECT
    at, workload, candidate, provider, model, epoch, verdict, since, reason_en, reason_zh, stage, share,
    units_baseline, units_candidate, pairs, late_calls, late_units, late_pairs, plan_hash, set_by, after_data, proven, formulas, gates, drift
FROM verdicts
WHERE (workload, candidate, at) IN (SELECT workload, candidate, max(at) FROM verdicts GROUP BY workload, candidate)
ORDER BY workload, candidate
LIMIT 1 BY workload, candidate
