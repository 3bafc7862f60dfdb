-- The quality checks and protocol findings of the last month.
SELECT
    arraySort(mapKeys(sumMap(m.check_calls))) AS checks,
    arraySort(mapKeys(sumMap(m.findings))) AS findings
FROM v_hours AS m
WHERE minute >= now() - 30 * 86400
