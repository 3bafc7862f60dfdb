-- What providers (and models of those that `apart` names) did in a workload, by the language of the user's message or by the tools that answers call ("" is
-- unknown, or no tool); an answer that calls two tools counts for both.
SELECT
    provider,
    JSONExtract({apart:String}, 'Map(String, String)')[concat(provider, '/', model)] AS told,
    arrayJoin(if({by:String} = 'language', [toString(language)], if(empty(tools_called), [''], tools_called))) AS slice,
    sum(a.calls) AS calls, sum(a.failed) AS failed, sum(a.cancelled) AS cancelled,
    sum(a.quality_calls) AS quality_calls, sum(a.quality_sum) AS quality_sum,
    sumMap(a.first_token_buckets) AS first_token_buckets, sumMap(a.duration_buckets) AS duration_buckets
FROM v_answers AS a
WHERE
    minute >= toStartOfMinute(now() - {seconds:UInt32})
    AND arm != 'shadow'
    AND ({workload:String} = '' OR workload = {workload:String})
GROUP BY provider, told, slice
ORDER BY calls DESC
LIMIT 200
