-- Stage changes so far, oldest first.
SELECT at, workload, JSONExtractString(fields, 'stage') AS stage
FROM v_events
WHERE kind = 'stage_changed'
ORDER BY at
