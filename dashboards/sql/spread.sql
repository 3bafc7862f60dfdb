-- What the interval of a mean per call needs, one row per provider, and per model of those that `apart` names: over the minutes, sums of
-- squares and products of the amount (y) and the calls it rests on (n), for cost and both token counts.
SELECT
    provider, told,
    sum(n) AS usage_n, count() AS usage_minutes, sum(n * n) AS usage_nn,
    sum(input) AS input_y, sum(input * input) AS input_yy, sum(input * n) AS input_yn,
    sum(output) AS output_y, sum(output * output) AS output_yy, sum(output * n) AS output_yn,
    any(costs.n) AS cost_n, any(costs.minutes) AS cost_minutes, any(costs.nn) AS cost_nn,
    any(costs.y) AS cost_y, any(costs.yy) AS cost_yy, any(costs.yn) AS cost_yn
FROM
(
    SELECT
        provider, JSONExtract({apart:String}, 'Map(String, String)')[concat(provider, '/', model)] AS told, minute, toFloat64(sum(m.with_usage)) AS n,
        toFloat64(sum(m.input_tokens)) AS input, toFloat64(sum(m.output_tokens)) AS output
    FROM v_minutes AS m
    WHERE
        minute >= toStartOfMinute(now() - {seconds:UInt32} - {ago:UInt32})
        AND ({ago:UInt32} = 0 OR minute < toStartOfMinute(now() - {ago:UInt32}))
        AND arm != 'shadow'
        AND ({workload:String} = '' OR workload = {workload:String})
        AND ({provider:String} = '' OR provider = {provider:String})
        AND ({model:String} = '' OR model = {model:String})
    GROUP BY provider, told, minute
    HAVING n > 0
) AS usage
LEFT JOIN
(
    SELECT
        provider, told, sum(called) AS n, count() AS minutes, sum(called * called) AS nn,
        sum(paid) AS y, sum(paid * paid) AS yy, sum(paid * called) AS yn
    FROM
    (
        SELECT provider, JSONExtract({apart:String}, 'Map(String, String)')[concat(provider, '/', model)] AS told, minute, toFloat64(sum(amount)) AS paid, toFloat64(sum(calls)) AS called
        FROM (SELECT *, if({currency:String} = 'CNY', cost_cny, cost_usd) AS amount FROM v_costs)
        WHERE
        isNotNull(amount)
        AND minute >= toStartOfMinute(now() - {seconds:UInt32} - {ago:UInt32})
        AND ({ago:UInt32} = 0 OR minute < toStartOfMinute(now() - {ago:UInt32}))
        AND arm != 'shadow'
        AND ({workload:String} = '' OR workload = {workload:String})
        AND ({provider:String} = '' OR provider = {provider:String})
        AND ({model:String} = '' OR model = {model:String})
        GROUP BY provider, told, minute
        HAVING called > 0
    )
    GROUP BY provider, told
) AS costs USING (provider, told)
GROUP BY provider, told
