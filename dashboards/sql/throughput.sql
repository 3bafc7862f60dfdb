-- Calls per minute of the last hour, everything that was stored.
SELECT minute AS at, sum(m.calls) AS calls
FROM v_minutes AS m
WHERE minute >= toStartOfMinute(now() - 3600)
GROUP BY at
ORDER BY at
