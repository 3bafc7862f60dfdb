-- The path of the evidence in one workload, oldest first.
SELECT at, candidate, gate, log_e_promote, log_e_rollback, estimate, lower, upper
FROM v_evidence
WHERE workload = {workload:String}
ORDER BY candidate, gate, at
LIMIT 20000
