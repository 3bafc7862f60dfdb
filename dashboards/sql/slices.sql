-- What providers (and models of those that `apart` names) did in a workload, by model, stage or hour of the day (the viewer's, offset minutes behind UTC).
SELECT
    provider,
    JSONExtract({apart:String}, 'Map(String, String)')[concat(provider, '/', model)] AS told,
    multiIf(
        {by:String} = 'hour', formatDateTime(minute - toIntervalMinute({offset:Int32}), '%H:00'),
        {by:String} = 'stage', stage,
        model
    ) AS slice,
    sum(m.calls) AS calls, sum(m.failed) AS failed, sum(m.cancelled) AS cancelled,
    sum(m.quality_calls) AS quality_calls, sum(m.quality_sum) AS quality_sum,
    sumMap(m.first_token_buckets) AS first_token_buckets, sumMap(m.duration_buckets) AS duration_buckets
FROM v_minutes AS m
WHERE
    minute >= toStartOfMinute(now() - {seconds:UInt32})
    AND arm != 'shadow'
    AND ({workload:String} = '' OR workload = {workload:String})
GROUP BY provider, told, slice
ORDER BY slice, provider, told
LIMIT 500
