-- One row per minute, workload, provider, model, arm and stage: sums only, so rows add up further.
CREATE OR REPLACE VIEW v_minutes AS
SELECT
    minute, workload, provider, model, arm, stage,
    sum(r.calls) AS calls,
    sum(r.failed) AS failed,
    sum(r.provider_failed) AS provider_failed,
    sum(r.cancelled) AS cancelled,
    sum(r.streams) AS streams,
    sum(r.with_usage) AS with_usage,
    sum(r.usage_estimated) AS usage_estimated,
    sum(r.input_tokens) AS input_tokens,
    sum(r.cache_read_input_tokens) AS cache_read_input_tokens,
    sum(r.cache_write_input_tokens) AS cache_write_input_tokens,
    sum(r.output_tokens) AS output_tokens,
    sum(r.quality_calls) AS quality_calls,
    sum(r.quality_sum) AS quality_sum,
    sum(r.cost_estimated) AS cost_estimated,
    max(r.last_inserted_at) AS last_inserted_at,
    sumMap(r.failures) AS failures,
    sumMap(r.cost) AS cost,
    sumMap(r.priced) AS priced,
    sumMap(r.unpriced) AS unpriced,
    sumMap(r.first_token_buckets) AS first_token_buckets,
    sumMap(r.duration_buckets) AS duration_buckets,
    sumMap(r.check_calls) AS check_calls,
    sumMap(r.check_sums) AS check_sums
FROM calls_per_minute AS r
GROUP BY minute, workload, provider, model, arm, stage
