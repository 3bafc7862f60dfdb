-- What could not be used and was not sent again, by reason, with the newest example of each.
SELECT
    reason, count() AS messages, max(received_at) AS last_at,
    argMax(detail, received_at) AS detail, argMax(value, received_at) AS example, argMax(origin, received_at) AS origin
FROM v_rejected
WHERE NOT retried
GROUP BY reason
ORDER BY messages DESC
