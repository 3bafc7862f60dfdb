-- Users' calls of the plan's two arms, per step of time and workload.
SELECT
    toStartOfInterval(minute, toIntervalSecond({step:UInt32})) AS at, workload,
    sumIf(m.calls, arm = 'candidate') AS migrated, sum(m.calls) AS calls
FROM v_minutes AS m
WHERE minute >= toStartOfMinute(now() - {seconds:UInt32}) AND arm IN ('baseline', 'candidate')
GROUP BY at, workload
ORDER BY at, workload
