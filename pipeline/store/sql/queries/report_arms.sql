-- What the plan's arms did for users from {since} (a minute) to before {until}: one row per
-- workload, arm and provider, cost in the report's currency. priced = calls whose cost is known in it.
SELECT
    workload, arm, provider, calls, failed, provider_failed, cancelled, with_usage,
    input_tokens, cache_read_input_tokens, output_tokens, quality_calls, quality_sum,
    failures, first_token_buckets, duration_buckets, check_calls, check_sums,
    costs.cost AS cost, costs.priced AS priced
FROM
(
    SELECT
        workload, arm, provider,
        sum(m.calls) AS calls, sum(m.failed) AS failed, sum(m.provider_failed) AS provider_failed,
        sum(m.cancelled) AS cancelled, sum(m.with_usage) AS with_usage,
        sum(m.input_tokens) AS input_tokens,
        sum(m.cache_read_input_tokens) AS cache_read_input_tokens,
        sum(m.output_tokens) AS output_tokens,
        sum(m.quality_calls) AS quality_calls, sum(m.quality_sum) AS quality_sum,
        sumMap(m.failures) AS failures,
        sumMap(m.first_token_buckets) AS first_token_buckets,
        sumMap(m.duration_buckets) AS duration_buckets,
        sumMap(m.check_calls) AS check_calls, sumMap(m.check_sums) AS check_sums
    FROM v_minutes AS m
    WHERE minute >= {since:DateTime} AND minute < {until:DateTime} AND arm IN ('baseline', 'candidate')
    GROUP BY workload, arm, provider
) AS sums
LEFT JOIN
(
    SELECT workload, arm, provider, sum(amount) AS cost, sum(calls) AS priced
    FROM (SELECT *, if({currency:String} = 'CNY', cost_cny, cost_usd) AS amount FROM v_costs)
    WHERE isNotNull(amount)
        AND minute >= {since:DateTime} AND minute < {until:DateTime} AND arm IN ('baseline', 'candidate')
    GROUP BY workload, arm, provider
) AS costs USING (workload, arm, provider)
ORDER BY workload, arm, provider
