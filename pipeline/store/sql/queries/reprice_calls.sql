-- The calls of one slice: what names each, what its cost depends on, and its newest cost.
SELECT
    cluster, topic, kafka_partition, kafka_offset, position, call_id,
    toUnixTimestamp64Milli(started_at) AS started_at_ms,
    workload, provider, model, arm, stage, region, flat_rate_plan, request_model, response_model,
    input_tokens, cache_read_input_tokens, cache_write_5m_input_tokens, cache_write_1h_input_tokens,
    output_tokens, reasoning_output_tokens, usage_estimated,
    cost, currency, price_id, cost_estimated, cost_unknown
FROM v_priced_calls
WHERE started_at >= fromUnixTimestamp64Milli({begin_ms:Int64}) AND started_at < fromUnixTimestamp64Milli({end_ms:Int64})
    AND ({provider:String} = '' OR provider = {provider:String})
