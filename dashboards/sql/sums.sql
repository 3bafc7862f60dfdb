-- One row per provider, and per model of those that `apart` names: what it did for users in the last
-- seconds (or in as many, ago seconds earlier), cost in the report's currency.
-- recent_calls are those of this minute and the one before.
-- priced = calls whose cost is known in that currency; with priced = 0 the cost means nothing.
SELECT
    provider, told, side AS arm, calls, recent_calls, failed, provider_failed, cancelled, streams, with_usage,
    input_tokens, cache_read_input_tokens, output_tokens,
    quality_calls, quality_sum, failures, first_token_buckets, duration_buckets,
    check_calls, check_sums, findings, generated_tokens, generating_ms, costs.cost AS cost, costs.priced AS priced
FROM
(
    SELECT
        provider, JSONExtract({apart:String}, 'Map(String, String)')[concat(provider, '/', model)] AS told,
        max(m.arm) AS side,
        sum(m.calls) AS calls, sumIf(m.calls, minute >= toStartOfMinute(now() - 60)) AS recent_calls,
        sum(m.failed) AS failed, sum(m.provider_failed) AS provider_failed,
        sum(m.cancelled) AS cancelled, sum(m.streams) AS streams, sum(m.with_usage) AS with_usage,
        sum(m.input_tokens) AS input_tokens,
        sum(m.cache_read_input_tokens) AS cache_read_input_tokens,
        sum(m.output_tokens) AS output_tokens,
        sum(m.quality_calls) AS quality_calls, sum(m.quality_sum) AS quality_sum,
        sumMap(m.failures) AS failures,
        sumMap(m.first_token_buckets) AS first_token_buckets,
        sumMap(m.duration_buckets) AS duration_buckets,
        sumMap(m.check_calls) AS check_calls, sumMap(m.check_sums) AS check_sums,
        sumMap(m.findings) AS findings,
        sum(m.generated_tokens) AS generated_tokens, sum(m.generating_ms) AS generating_ms
    FROM v_minutes AS m
    WHERE
        minute >= toStartOfMinute(now() - {seconds:UInt32} - {ago:UInt32})
        AND ({ago:UInt32} = 0 OR minute < toStartOfMinute(now() - {ago:UInt32}))
        AND arm != 'shadow'
        AND ({workload:String} = '' OR workload = {workload:String})
        AND ({provider:String} = '' OR provider = {provider:String})
        AND ({model:String} = '' OR model = {model:String})
    GROUP BY provider, told
) AS sums
LEFT JOIN
(
    SELECT provider, JSONExtract({apart:String}, 'Map(String, String)')[concat(provider, '/', model)] AS told, sum(amount) AS cost, sum(calls) AS priced
    FROM (SELECT *, if({currency:String} = 'CNY', cost_cny, cost_usd) AS amount FROM v_costs)
    WHERE
        isNotNull(amount)
        AND minute >= toStartOfMinute(now() - {seconds:UInt32} - {ago:UInt32})
        AND ({ago:UInt32} = 0 OR minute < toStartOfMinute(now() - {ago:UInt32}))
        AND arm != 'shadow'
        AND ({workload:String} = '' OR workload = {workload:String})
        AND ({provider:String} = '' OR provider = {provider:String})
        AND ({model:String} = '' OR model = {model:String})
    GROUP BY provider, told
) AS costs USING (provider, told)
ORDER BY provider, told
