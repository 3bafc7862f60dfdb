-- The path of the evidence of the epoch in force, hour by hour: of each gate the hour's last row, as v_evidence has it.
CREATE OR REPLACE VIEW v_evidence_by_hour AS
SELECT
    workload, candidate, gate, row.1 AS at, row.2 AS log_e_promote, row.3 AS log_e_rollback,
    row.4 AS estimate, row.5 AS lower, row.6 AS upper
FROM
(
    SELECT workload, candidate, gate, hour, argMaxMerge(last) AS row
    FROM evidence_by_hour
    WHERE (workload, candidate, epoch) IN (SELECT workload, candidate, max(epoch) FROM epochs GROUP BY workload, candidate)
    GROUP BY workload, candidate, gate, hour
)
