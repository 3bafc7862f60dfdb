-- What happened in the last seconds, oldest first.
SELECT at, kind, workload, provider, fields
FROM v_events
WHERE at >= toStartOfMinute(now() - {seconds:UInt32}) AND ({workload:String} = '' OR workload = {workload:String})
ORDER BY at
