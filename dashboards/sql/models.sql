-- The providers and models seen, busiest first.
SELECT provider, model, sum(m.calls) AS calls
FROM v_hours AS m
GROUP BY provider, model
ORDER BY calls DESC
LIMIT 1000
