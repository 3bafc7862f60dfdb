-- The newest verdict of each workload and candidate.
SELECT *
FROM v_verdicts
ORDER BY workload, candidate, at DESC
LIMIT 1 BY workload, candidate
