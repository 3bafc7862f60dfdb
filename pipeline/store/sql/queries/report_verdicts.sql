-- The verdict in force on each workload and candidate.
SELECT
    at, workload, candidate, provider, verdict, since, reason_en, reason_zh,
    units_baseline, units_candidate, after_data, proven, gates
FROM v_verdicts
