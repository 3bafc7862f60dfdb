-- The verdicts in force, of one workload or all.
SELECT
    at, workload, candidate, provider, model, epoch, verdict, since, reason_en, reason_zh, stage, share,
    units_baseline, units_candidate, pairs, late_calls, late_pairs, gates, drift
FROM v_verdicts
WHERE {workload:String} = '' OR workload = {workload:String}
ORDER BY workload, candidate
