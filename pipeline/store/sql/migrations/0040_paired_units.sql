-- What the plan leaves out of the evidence it can leave out of the pairs too, and models are told apart as it names
-- them. Rows from before say nothing of it.
ALTER TABLE pairs
    ADD COLUMN app LowCardinality(String) AFTER workload,
    ADD COLUMN team LowCardinality(String) AFTER app,
    ADD COLUMN tags Map(LowCardinality(String), String) CODEC(ZSTD(1)) AFTER team,
    ADD COLUMN request_model LowCardinality(String) AFTER provider,
    ADD COLUMN doubts Array(LowCardinality(String)) AFTER agreement_version;

-- Pairs in the order in which they came, with no more than the judge needs; as `arrivals` for users' calls.
CREATE TABLE pair_arrivals
(
    cluster LowCardinality(String),
    topic LowCardinality(String),
    kafka_partition UInt32 CODEC(T64, ZSTD(1)),
    kafka_offset UInt64 CODEC(Delta, ZSTD(1)),
    position UInt32 CODEC(T64, ZSTD(1)),
    received_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    call_id String CODEC(ZSTD(1)),
    shadow_of String CODEC(ZSTD(1)),
    conversation_id String CODEC(ZSTD(1)),
    workload LowCardinality(String),
    app LowCardinality(String),
    team LowCardinality(String),
    tags Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    mirrored_to LowCardinality(String),
    provider LowCardinality(String),
    request_model LowCardinality(String),
    model LowCardinality(String),
    started_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    duration_ms Nullable(UInt32) CODEC(T64, ZSTD(1)),
    failed Nullable(Bool),
    twin_failed Nullable(Bool),
    quality Nullable(Decimal(5, 4)) CODEC(ZSTD(1)),
    twin_quality Nullable(Decimal(5, 4)) CODEC(ZSTD(1)),
    agreement Map(LowCardinality(String), Decimal(5, 4)) CODEC(ZSTD(1)),
    doubts Array(LowCardinality(String))
)
ENGINE = MergeTree
ORDER BY (cluster, topic, kafka_partition, kafka_offset, position)
TTL toDateTime(received_at) + INTERVAL 14 DAY
SETTINGS non_replicated_deduplication_window = 50000;

INSERT INTO pair_arrivals
SELECT
    cluster, topic, kafka_partition, kafka_offset, position, received_at, call_id, shadow_of, conversation_id,
    workload, app, team, tags, mirrored_to, provider, request_model, model, started_at, duration_ms,
    failed, twin_failed, quality, twin_quality, agreement, doubts
FROM pairs
WHERE workload != '';

CREATE MATERIALIZED VIEW pair_arrivals_mv TO pair_arrivals AS
SELECT
    cluster, topic, kafka_partition, kafka_offset, position, received_at, call_id, shadow_of, conversation_id,
    workload, app, team, tags, mirrored_to, provider, request_model, model, started_at, duration_ms,
    failed, twin_failed, quality, twin_quality, agreement, doubts
FROM pairs
WHERE workload != '';

-- Conversations' shadow pairs as they were judged, one row per conversation and candidate; as `units` for
-- conversations, in batches of their own numbers.
CREATE TABLE paired_units
(
    batch UInt64 CODEC(Delta, ZSTD(1)),
    writer LowCardinality(String),
    workload LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    conversation_id String CODEC(ZSTD(1)),
    assigned_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    closed_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    pairs UInt32 CODEC(T64, ZSTD(1)),
    failed_baseline Nullable(Float64) CODEC(ZSTD(1)),
    failed_candidate Nullable(Float64) CODEC(ZSTD(1)),
    score_baseline Nullable(Float64) CODEC(ZSTD(1)),
    score_candidate Nullable(Float64) CODEC(ZSTD(1)),
    disagreement Nullable(Float64) CODEC(ZSTD(1)),
    noise Nullable(Float64) CODEC(ZSTD(1)),
    late Bool,

    INDEX by_batch batch TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
ORDER BY (workload, assigned_at, conversation_id)
SETTINGS non_replicated_deduplication_window = 50000;

CREATE TABLE judged_pairs
(
    conversation UInt64 CODEC(ZSTD(1))
)
ENGINE = MergeTree
ORDER BY conversation
SETTINGS index_granularity = 256, non_replicated_deduplication_window = 50000;

CREATE MATERIALIZED VIEW judged_pairs_mv TO judged_pairs AS
SELECT cityHash64(toString(workload), conversation_id) AS conversation FROM paired_units;

-- Pairs that came after their conversation's had been judged: shown, never merged.
CREATE TABLE late_pairs
(
    workload LowCardinality(String),
    provider LowCardinality(String),
    call_id String,
    started_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (workload, provider, call_id);

-- The table whose batches a position belongs to.
ALTER TABLE judge_positions ADD COLUMN kept LowCardinality(String) DEFAULT 'units';

ALTER TABLE verdicts
    ADD COLUMN pairs UInt64 DEFAULT 0 AFTER units_candidate,
    ADD COLUMN late_pairs UInt64 DEFAULT 0 AFTER late_units;
