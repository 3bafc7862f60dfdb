-- More sums per minute: calls by protocol finding, and what streamed answers generated in which time (from
-- the first token to the end), from which tokens per second are told.
ALTER TABLE calls_per_minute
    ADD COLUMN findings SimpleAggregateFunction(sumMap, Map(String, UInt64)),
    ADD COLUMN generated_tokens UInt64,
    ADD COLUMN generating_ms UInt64;

DROP VIEW calls_per_minute_mv;

CREATE MATERIALIZED VIEW calls_per_minute_mv TO calls_per_minute AS
WITH
    raw.failure = '' AND isNotNull(raw.output_tokens) AND ifNull(raw.duration_ms > raw.time_to_first_token_ms, false) AS generates
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
    sumMap(mapApply((check, value) -> (toString(check), toDecimal128(value, 4)), raw.checks)) AS check_sums,
    sumMap(mapFromArrays(arrayMap(f -> toString(f), arrayDistinct(raw.findings)), arrayMap(f -> toUInt64(1), arrayDistinct(raw.findings)))) AS findings,
    sumIf(ifNull(raw.output_tokens, 0), generates) AS generated_tokens,
    toUInt64(sumIf(ifNull(raw.duration_ms, 0) - ifNull(raw.time_to_first_token_ms, 0), generates)) AS generating_ms
FROM calls AS raw
GROUP BY minute, workload, provider, model, arm, stage;

-- The same sums per hour (`minute` is the hour's first), so that months are read as fast as an hour.
CREATE TABLE calls_per_hour
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
    check_sums SimpleAggregateFunction(sumMap, Map(String, Decimal(38, 4))),
    findings SimpleAggregateFunction(sumMap, Map(String, UInt64)),
    generated_tokens UInt64,
    generating_ms UInt64
)
ENGINE = SummingMergeTree
ORDER BY (minute, workload, provider, model, arm, stage)
SETTINGS non_replicated_deduplication_window = 50000;

CREATE MATERIALIZED VIEW calls_per_hour_mv TO calls_per_hour AS
SELECT
    toStartOfHour(m.minute) AS minute,
    m.workload AS workload, m.provider AS provider, m.model AS model, m.arm AS arm, m.stage AS stage,
    sum(m.calls) AS calls,
    sum(m.failed) AS failed,
    sum(m.provider_failed) AS provider_failed,
    sum(m.cancelled) AS cancelled,
    sum(m.streams) AS streams,
    sum(m.with_usage) AS with_usage,
    sum(m.usage_estimated) AS usage_estimated,
    sum(m.input_tokens) AS input_tokens,
    sum(m.cache_read_input_tokens) AS cache_read_input_tokens,
    sum(m.cache_write_input_tokens) AS cache_write_input_tokens,
    sum(m.output_tokens) AS output_tokens,
    sum(m.quality_calls) AS quality_calls,
    sum(m.quality_sum) AS quality_sum,
    max(m.last_inserted_at) AS last_inserted_at,
    sumMap(m.failures) AS failures,
    sumMap(m.cost) AS cost,
    sumMap(m.priced) AS priced,
    sumMap(m.unpriced) AS unpriced,
    sum(m.cost_estimated) AS cost_estimated,
    sumMap(m.first_token_buckets) AS first_token_buckets,
    sumMap(m.duration_buckets) AS duration_buckets,
    sumMap(m.check_calls) AS check_calls,
    sumMap(m.check_sums) AS check_sums,
    sumMap(m.findings) AS findings,
    sum(m.generated_tokens) AS generated_tokens,
    sum(m.generating_ms) AS generating_ms
FROM calls_per_minute AS m
GROUP BY minute, workload, provider, model, arm, stage;

INSERT INTO calls_per_hour
SELECT
    toStartOfHour(m.minute) AS minute,
    m.workload AS workload, m.provider AS provider, m.model AS model, m.arm AS arm, m.stage AS stage,
    sum(m.calls) AS calls,
    sum(m.failed) AS failed,
    sum(m.provider_failed) AS provider_failed,
    sum(m.cancelled) AS cancelled,
    sum(m.streams) AS streams,
    sum(m.with_usage) AS with_usage,
    sum(m.usage_estimated) AS usage_estimated,
    sum(m.input_tokens) AS input_tokens,
    sum(m.cache_read_input_tokens) AS cache_read_input_tokens,
    sum(m.cache_write_input_tokens) AS cache_write_input_tokens,
    sum(m.output_tokens) AS output_tokens,
    sum(m.quality_calls) AS quality_calls,
    sum(m.quality_sum) AS quality_sum,
    max(m.last_inserted_at) AS last_inserted_at,
    sumMap(m.failures) AS failures,
    sumMap(m.cost) AS cost,
    sumMap(m.priced) AS priced,
    sumMap(m.unpriced) AS unpriced,
    sum(m.cost_estimated) AS cost_estimated,
    sumMap(m.first_token_buckets) AS first_token_buckets,
    sumMap(m.duration_buckets) AS duration_buckets,
    sumMap(m.check_calls) AS check_calls,
    sumMap(m.check_sums) AS check_sums,
    sumMap(m.findings) AS findings,
    sum(m.generated_tokens) AS generated_tokens,
    sum(m.generating_ms) AS generating_ms
FROM calls_per_minute AS m
GROUP BY minute, workload, provider, model, arm, stage;
