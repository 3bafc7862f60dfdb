-- The newest calls of each provider (and model of those that `apart` names) in a workload whose cost is known, with what their bill is made from. They are
-- looked for in no more of the past than holds so many.
SELECT
    provider, JSONExtract({apart:String}, 'Map(String, String)')[concat(provider, '/', model)] AS told, region, flat_rate_plan, model, started_at, cost, currency, input_tokens, cache_read_input_tokens,
    cache_write_5m_input_tokens, cache_write_1h_input_tokens, output_tokens, reasoning_output_tokens
FROM v_calls
WHERE
    workload = {workload:String}
    AND started_at >= now() - {seconds:UInt32}
    AND arm != 'shadow'
    AND isNotNull(cost)
    AND (provider, told, toStartOfTenMinutes(started_at)) IN
    (
        SELECT provider, told, at
        FROM
        (
            SELECT provider, told, at, sum(calls) OVER (PARTITION BY provider, told ORDER BY at DESC) - calls AS later
            FROM
            (
                SELECT provider, JSONExtract({apart:String}, 'Map(String, String)')[concat(provider, '/', model)] AS told, at, sum(u.calls) AS calls
                FROM v_usage AS u
                WHERE workload = {workload:String} AND arm != 'shadow' AND currency != '' AND at > now() - {seconds:UInt32} - 600
                GROUP BY provider, told, at
            )
        )
        WHERE later < {each:UInt32}
    )
ORDER BY started_at DESC
LIMIT {each:UInt32} BY provider, told
LIMIT 20000
