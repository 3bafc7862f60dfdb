-- What happened in the last seconds, oldest first; of very much, the newest.
SELECT event_id, at, kind, workload, provider, fields
FROM
(
    SELECT event_id, at, kind, workload, provider, fields
    FROM v_events
    WHERE at >= toStartOfMinute(now() - {seconds:UInt32}) AND ({workload:String} = '' OR workload = {workload:String})
    ORDER BY at DESC
    LIMIT 2000
)
ORDER BY at
