-- The path of the evidence of the epoch in force: natural logarithms of e-values, the loss and its interval.
CREATE OR REPLACE VIEW v_evidence AS
SELECT at, workload, candidate, gate, units_baseline, units_candidate, log_e_promote, log_e_rollback, estimate, lower, upper
FROM evidence FINAL
WHERE (workload, candidate, epoch) IN (SELECT workload, candidate, max(epoch) FROM epochs GROUP BY workload, candidate)
ORDER BY workload, candidate, gate, at
