-- The providers seen, busiest first.
SELECT provider, sum(m.calls) AS calls
FROM v_minutes AS m
GROUP BY provider
ORDER BY calls DESC
