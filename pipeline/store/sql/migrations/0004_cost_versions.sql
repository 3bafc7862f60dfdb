-- What a cost depends on besides tokens, model and time. Rows from before take the region from
-- their price's id (provider/model/region/first day).
ALTER TABLE calls ADD COLUMN region LowCardinality(String) DEFAULT if(price_id = '', '', arrayElement(splitByChar('/', price_id), -2)) AFTER host;
ALTER TABLE calls ADD COLUMN flat_rate_plan LowCardinality(String) DEFAULT if(cost_unknown = 'flat_rate_plan', 'unnamed', '') AFTER region;

-- A cost version: costs of stored calls reckoned again with later facts. Version 0 is the cost as
-- scored. The row is written last, so that a version is there as a whole or not at all: what a
-- run that broke off left in cost_changes belongs to no version. calls = how many it changed.
CREATE TABLE cost_versions
(
    version UInt32,
    run String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3),
    note String,
    since Date,
    until Date,
    provider LowCardinality(String),
    facts String,
    calls UInt64
)
ENGINE = MergeTree
ORDER BY version
SETTINGS non_replicated_deduplication_window = 50000;

-- One row per call and version that changed its cost, beginning with what names the call.
CREATE TABLE cost_changes
(
    run String CODEC(ZSTD(1)),
    version UInt32 CODEC(T64, ZSTD(1)),
    cluster LowCardinality(String),
    topic LowCardinality(String),
    kafka_partition UInt32 CODEC(T64, ZSTD(1)),
    kafka_offset UInt64 CODEC(Delta, ZSTD(1)),
    position UInt32 CODEC(T64, ZSTD(1)),
    call_id String CODEC(ZSTD(1)),
    started_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    workload LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    arm LowCardinality(String),
    stage LowCardinality(String),
    old_cost Nullable(Decimal(18, 12)) CODEC(ZSTD(1)),
    old_currency LowCardinality(String),
    old_price_id LowCardinality(String),
    old_cost_estimated Bool,
    old_cost_unknown LowCardinality(String),
    new_cost Nullable(Decimal(18, 12)) CODEC(ZSTD(1)),
    new_currency LowCardinality(String),
    new_price_id LowCardinality(String),
    new_cost_estimated Bool,
    new_cost_unknown LowCardinality(String),

    INDEX by_call_id call_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
ORDER BY (started_at, cluster, topic, kafka_partition, kafka_offset, position)
SETTINGS non_replicated_deduplication_window = 50000;

-- What the changes add to the sums of each minute and what they take away: a call's old cost
-- counts −1 and its new one +1, each under its currency, or under the reason why it is unknown.
CREATE TABLE cost_changes_per_minute
(
    run String,
    version UInt32,
    minute DateTime('UTC') CODEC(Delta, ZSTD(1)),
    workload LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    arm LowCardinality(String),
    stage LowCardinality(String),
    currency LowCardinality(String),
    unknown LowCardinality(String),
    cost Decimal(38, 12),
    calls Int64
)
ENGINE = SummingMergeTree
ORDER BY (minute, workload, provider, model, arm, stage, currency, unknown, version, run)
SETTINGS non_replicated_deduplication_window = 50000;

CREATE MATERIALIZED VIEW cost_changes_per_minute_mv TO cost_changes_per_minute AS
SELECT
    run, version, toStartOfMinute(started_at) AS minute, workload, provider, model, arm, stage,
    side.1 AS currency, side.2 AS unknown, sum(side.3) AS cost, sum(side.4) AS calls
FROM cost_changes
ARRAY JOIN
[
    (if(isNull(old_cost), '', toString(old_currency)), toString(old_cost_unknown), -toDecimal128(ifNull(old_cost, 0), 12), toInt64(-1)),
    (if(isNull(new_cost), '', toString(new_currency)), toString(new_cost_unknown), toDecimal128(ifNull(new_cost, 0), 12), toInt64(1))
] AS side
GROUP BY run, version, minute, workload, provider, model, arm, stage, currency, unknown;
