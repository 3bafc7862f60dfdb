-- The same per step of time, for curves.
SELECT
    at, provider, calls, failed, cancelled, quality_calls, quality_sum,
    generated_tokens, generating_ms, first_token_buckets, duration_buckets, costs.cost AS cost, costs.priced AS priced
FROM
(
    SELECT
        toStartOfInterval(minute, toIntervalSecond({step:UInt32})) AS at, provider,
        sum(m.calls) AS calls, sum(m.failed) AS failed, sum(m.cancelled) AS cancelled,
        sum(m.quality_calls) AS quality_calls, sum(m.quality_sum) AS quality_sum,
        sum(m.generated_tokens) AS generated_tokens, sum(m.generating_ms) AS generating_ms,
        sumMap(m.first_token_buckets) AS first_token_buckets,
        sumMap(m.duration_buckets) AS duration_buckets
    FROM v_minutes AS m
    WHERE
        minute >= toStartOfMinute(now() - {seconds:UInt32} - {ago:UInt32})
        AND ({ago:UInt32} = 0 OR minute < toStartOfMinute(now() - {ago:UInt32}))
        AND arm != 'shadow'
        AND ({workload:String} = '' OR workload = {workload:String})
        AND ({provider:String} = '' OR provider = {provider:String})
        AND ({model:String} = '' OR model = {model:String})
    GROUP BY at, provider
) AS sums
LEFT JOIN
(
    SELECT
        toStartOfInterval(minute, toIntervalSecond({step:UInt32})) AS at, provider,
        sum(amount) AS cost, sum(calls) AS priced
    FROM (SELECT *, if({currency:String} = 'CNY', cost_cny, cost_usd) AS amount FROM v_costs)
    WHERE
        isNotNull(amount)
        AND minute >= toStartOfMinute(now() - {seconds:UInt32} - {ago:UInt32})
        AND ({ago:UInt32} = 0 OR minute < toStartOfMinute(now() - {ago:UInt32}))
        AND arm != 'shadow'
        AND ({workload:String} = '' OR workload = {workload:String})
        AND ({provider:String} = '' OR provider = {provider:String})
        AND ({model:String} = '' OR model = {model:String})
    GROUP BY at, provider
) AS costs USING (at, provider)
ORDER BY at, provider
