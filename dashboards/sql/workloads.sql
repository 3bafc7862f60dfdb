-- The workloads seen, busiest first.
SELECT workload, sum(m.calls) AS calls
FROM v_hours AS m
WHERE workload != '' AND arm != 'shadow'
GROUP BY workload
ORDER BY calls DESC
