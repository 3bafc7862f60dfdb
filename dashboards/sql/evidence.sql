-- The path of the evidence in one workload, oldest first: of each gate the last row of every 300th part of its time.
-- A path so long that such a part is an hour or more is read from the hours' last rows.
WITH
    (
        SELECT 1 + intDiv(dateDiff('millisecond', min(h.at), max(h.at)), 300)
        FROM v_evidence_by_hour AS h
        WHERE workload = {workload:String}
    ) AS part_ms
SELECT
    at, candidate, gate, row.1 AS log_e_promote, row.2 AS log_e_rollback, row.3 AS estimate, row.4 AS lower, row.5 AS upper
FROM
(
    SELECT
        candidate, gate, max(e.at) AS at,
        argMax((log_e_promote, log_e_rollback, estimate, lower, upper), e.at) AS row
    FROM
    (
        SELECT at, candidate, gate, log_e_promote, log_e_rollback, estimate, lower, upper
        FROM v_evidence
        WHERE workload = {workload:String} AND part_ms < 3600000
        UNION ALL
        SELECT at, candidate, gate, log_e_promote, log_e_rollback, estimate, lower, upper
        FROM v_evidence_by_hour
        WHERE workload = {workload:String} AND part_ms >= 3600000
    ) AS e
    GROUP BY candidate, gate, intDiv(toUnixTimestamp64Milli(e.at), part_ms)
)
ORDER BY candidate, gate, at
LIMIT 20000
