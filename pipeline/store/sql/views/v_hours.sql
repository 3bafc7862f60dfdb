-- v_minutes by the hour, for long ranges: `minute` is the first of the hour. Sums per hour, workload, provider, model, arm and stage. There may be several rows of one kind, and
-- they add up: always sum (and sumMap the maps), never count rows. Money is in v_costs and v_unpriced.
CREATE OR REPLACE VIEW v_hours AS
SELECT
    minute,
    workload,
    provider,
    model,
    arm,
    stage,
    calls,
    failed,
    provider_failed,
    cancelled,
    streams,
    with_usage,
    usage_estimated,
    input_tokens,
    cache_read_input_tokens,
    cache_write_input_tokens,
    output_tokens,
    quality_calls,
    quality_sum,
    last_inserted_at,
    failures,
    first_token_buckets,
    duration_buckets,
    check_calls,
    check_sums,
    findings,
    generated_tokens,
    generating_ms
FROM calls_per_hour
