-- The verdicts in force.
SELECT workload, candidate, verdict FROM v_verdicts ORDER BY workload, candidate
