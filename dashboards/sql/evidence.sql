-- The path of the evidence in one workload, oldest first: of each gate the last row of every 300th part of its time.
SELECT
    at, candidate, gate, row.1 AS log_e_promote, row.2 AS log_e_rollback, row.3 AS estimate, row.4 AS lower, row.5 AS upper
FROM
(
    SELECT
        candidate, gate, max(e.at) AS at,
        argMax((log_e_promote, log_e_rollback, estimate, lower, upper), e.at) AS row
    FROM v_evidence AS e
    WHERE workload = {workload:String}
    GROUP BY
        candidate, gate,
        intDiv(
            toUnixTimestamp64Milli(e.at),
            (SELECT 1 + intDiv(dateDiff('millisecond', min(s.at), max(s.at)), 300) FROM v_evidence AS s WHERE workload = {workload:String})
        )
)
ORDER BY candidate, gate, at
LIMIT 20000
