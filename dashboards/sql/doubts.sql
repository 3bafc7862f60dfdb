-- What could not be believed in the calls of the last day.
SELECT arrayJoin(doubts) AS doubt, count() AS calls, argMax(call_id, started_at) AS example
FROM v_calls
WHERE notEmpty(doubts) AND received_at >= now() - 86400 AND received_on >= today() - 2
GROUP BY doubt
ORDER BY calls DESC
LIMIT 50
