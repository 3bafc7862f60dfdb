-- Calls of workloads with a shadow, by hour: those mirrored (reason = 'mirrored'), and those not, with why.
CREATE OR REPLACE VIEW v_mirroring AS
SELECT hour, workload, reason, sum(m.calls) AS calls, max(m.at) AS at
FROM mirroring AS m FINAL
GROUP BY hour, workload, reason
