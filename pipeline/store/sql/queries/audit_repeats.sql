-- A call id that more than one row received since then has.
SELECT call_id, count() AS times
FROM calls
WHERE received_on >= toDate({since:DateTime64(3, 'UTC')})
GROUP BY call_id
HAVING times > 1
ORDER BY call_id
LIMIT 1
SETTINGS max_bytes_before_external_group_by = 400000000
