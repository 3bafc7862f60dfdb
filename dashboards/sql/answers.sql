-- What providers did in a workload, by the language of the user's message or by the tools that answers call ("" is
-- unknown, or no tool); an answer that calls two tools counts for both. Buckets are those of v_minutes.
SELECT
    provider,
    arrayJoin(if({by:String} = 'language', [toString(language)], if(empty(tools_called), [''], tools_called))) AS slice,
    count() AS calls, countIf(failure NOT IN ('', 'cancelled')) AS failed, countIf(failure = 'cancelled') AS cancelled,
    countIf(isNotNull(quality)) AS quality_calls, sum(toDecimal128(ifNull(quality, 0), 4)) AS quality_sum,
    sumMapIf(map(toUInt16(ceil(log(greatest(assumeNotNull(time_to_first_token_ms), 1)) / log(1.02))), toUInt64(1)), isNotNull(time_to_first_token_ms)) AS first_token_buckets,
    sumMapIf(map(toUInt16(ceil(log(greatest(assumeNotNull(duration_ms), 1)) / log(1.02))), toUInt64(1)), isNotNull(duration_ms)) AS duration_buckets
FROM v_answers
WHERE
    started_at >= toStartOfMinute(now() - {seconds:UInt32})
    AND arm != 'shadow'
    AND ({workload:String} = '' OR workload = {workload:String})
GROUP BY provider, slice
ORDER BY calls DESC
LIMIT 200
