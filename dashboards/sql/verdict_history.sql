-- When a verdict became another, oldest first; of very many, the newest.
SELECT at, workload, candidate, provider, verdict, reason_en, reason_zh, stage, share
FROM
(
    SELECT at, workload, candidate, provider, verdict, reason_en, reason_zh, stage, share
    FROM v_verdict_history
    WHERE at >= toStartOfMinute(now() - {seconds:UInt32}) AND ({workload:String} = '' OR workload = {workload:String})
    ORDER BY at DESC
    LIMIT 500
)
ORDER BY at
