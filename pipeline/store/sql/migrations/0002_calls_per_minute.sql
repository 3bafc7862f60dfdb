-- Sums per minute that merge exactly in any order: counts, tokens, Decimal money per currency, and
-- latency as counts in fixed buckets, bucket b holding durations in (1.02^(b-1), 1.02^b] ms.
-- Shadow calls have their own arm here, so that they can be left out of user traffic.
CREATE TABLE calls_per_minute
(
    minute DateTime('UTC') CODEC(Delta, ZSTD(1)),
    workload LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    arm LowCardinality(String),
    stage LowCardinality(String),
    calls UInt64,
    failed UInt64,
    provider_failed UInt64,
    cancelled UInt64,
    streams UInt64,
    with_usage UInt64,
    usage_estimated UInt64,
    input_tokens UInt64,
    cache_read_input_tokens UInt64,
    cache_write_input_tokens UInt64,
    output_tokens UInt64,
    quality_calls UInt64,
    quality_sum Decimal(38, 4),
    last_inserted_at SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    failures SimpleAggregateFunction(sumMap, Map(String, UInt64)),
    cost SimpleAggregateFunction(sumMap, Map(String, Decimal(38, 12))),
    priced SimpleAggregateFunction(sumMap, Map(String, UInt64)),
    unpriced SimpleAggregateFunction(sumMap, Map(String, UInt64)),
    cost_estimated UInt64,
    first_token_buckets SimpleAggregateFunction(sumMap, Map(UInt16, UInt64)),
    duration_buckets SimpleAggregateFunction(sumMap, Map(UInt16, UInt64)),
    check_calls SimpleAggregateFunction(sumMap, Map(String, UInt64)),
    check_sums SimpleAggregateFunction(sumMap, Map(String, Decimal(38, 4)))
)
ENGINE = SummingMergeTree
ORDER BY (minute, workload, provider, model, arm, stage)
SETTINGS non_replicated_deduplication_window = 50000;

CREATE MATERIALIZED VIEW calls_per_minute_mv TO calls_per_minute AS
SELECT
    toStartOfMinute(raw.started_at) AS minute,
    raw.workload AS workload,
    raw.provider AS provider,
    raw.model AS model,
    raw.arm AS arm,
    raw.stage AS stage,
    count() AS calls,
    countIf(raw.failure NOT IN ('', 'cancelled')) AS failed,
    countIf(raw.fault = 'provider') AS provider_failed,
    countIf(raw.failure = 'cancelled') AS cancelled,
    countIf(raw.stream = true) AS streams,
    countIf(isNotNull(raw.input_tokens) AND isNotNull(raw.output_tokens)) AS with_usage,
    countIf(raw.usage_estimated) AS usage_estimated,
    sum(ifNull(raw.input_tokens, 0)) AS input_tokens,
    sum(ifNull(raw.cache_read_input_tokens, 0)) AS cache_read_input_tokens,
    sum(ifNull(raw.cache_write_5m_input_tokens, 0) + ifNull(raw.cache_write_1h_input_tokens, 0)) AS cache_write_input_tokens,
    sum(ifNull(raw.output_tokens, 0)) AS output_tokens,
    countIf(isNotNull(raw.quality)) AS quality_calls,
    sum(toDecimal128(ifNull(raw.quality, 0), 4)) AS quality_sum,
    max(raw.inserted_at) AS last_inserted_at,
    sumMapIf(map(toString(raw.failure), toUInt64(1)), raw.failure != '') AS failures,
    sumMapIf(map(toString(raw.currency), toDecimal128(assumeNotNull(raw.cost), 12)), isNotNull(raw.cost)) AS cost,
    sumMapIf(map(toString(raw.currency), toUInt64(1)), isNotNull(raw.cost)) AS priced,
    sumMapIf(map(toString(raw.cost_unknown), toUInt64(1)), raw.cost_unknown != '') AS unpriced,
    countIf(raw.cost_estimated) AS cost_estimated,
    sumMapIf(
        map(toUInt16(ceil(log(greatest(assumeNotNull(raw.time_to_first_token_ms), 1)) / log(1.02))), toUInt64(1)),
        isNotNull(raw.time_to_first_token_ms)
    ) AS first_token_buckets,
    sumMapIf(
        map(toUInt16(ceil(log(greatest(assumeNotNull(raw.duration_ms), 1)) / log(1.02))), toUInt64(1)),
        isNotNull(raw.duration_ms)
    ) AS duration_buckets,
    sumMap(mapApply((check, value) -> (toString(check), toUInt64(1)), raw.checks)) AS check_calls,
    sumMap(mapApply((check, value) -> (toString(check), toDecimal128(value, 4)), raw.checks)) AS check_sums
FROM calls AS raw
GROUP BY minute, workload, provider, model, arm, stage;
