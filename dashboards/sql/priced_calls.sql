-- The newest calls of each provider in a workload whose cost is known, with what their bill is made from.
SELECT
    provider, region, flat_rate_plan, model, started_at, cost, currency, input_tokens, cache_read_input_tokens,
    cache_write_5m_input_tokens, cache_write_1h_input_tokens, output_tokens, reasoning_output_tokens
FROM v_calls
WHERE
    workload = {workload:String}
    AND started_at >= now() - {seconds:UInt32}
    AND arm != 'shadow'
    AND isNotNull(cost)
ORDER BY started_at DESC
LIMIT {each:UInt32} BY provider
LIMIT 20000
