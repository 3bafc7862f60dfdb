-- One row per shadow call that came with its twin, the user's call it mirrors (columns twin_…):
-- what became of both, and how far they agree (1: the same). Written with the calls of its batch.
CREATE TABLE pairs
(
    cluster LowCardinality(String),
    topic LowCardinality(String),
    kafka_partition UInt32 CODEC(T64, ZSTD(1)),
    kafka_offset UInt64 CODEC(Delta, ZSTD(1)),
    position UInt32 CODEC(T64, ZSTD(1)),
    received_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    received_on Date CODEC(ZSTD(1)),
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1)),

    call_id String CODEC(ZSTD(1)),
    shadow_of String CODEC(ZSTD(1)),
    conversation_id String CODEC(ZSTD(1)),
    workload LowCardinality(String),
    stage LowCardinality(String),
    mirrored_to LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    twin_provider LowCardinality(String),
    twin_model LowCardinality(String),
    started_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    failed Nullable(Bool),
    twin_failed Nullable(Bool),
    quality Nullable(Decimal(5, 4)) CODEC(ZSTD(1)),
    twin_quality Nullable(Decimal(5, 4)) CODEC(ZSTD(1)),
    cost Nullable(Decimal(18, 12)) CODEC(ZSTD(1)),
    currency LowCardinality(String),
    twin_cost Nullable(Decimal(18, 12)) CODEC(ZSTD(1)),
    twin_currency LowCardinality(String),
    time_to_first_token_ms Nullable(UInt32) CODEC(T64, ZSTD(1)),
    twin_time_to_first_token_ms Nullable(UInt32) CODEC(T64, ZSTD(1)),
    duration_ms Nullable(UInt32) CODEC(T64, ZSTD(1)),
    twin_duration_ms Nullable(UInt32) CODEC(T64, ZSTD(1)),
    agreement Map(LowCardinality(String), Decimal(5, 4)) CODEC(ZSTD(1)),
    evidence Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    agreement_version UInt16 CODEC(ZSTD(1)),
    judge_model LowCardinality(String),
    judged_first LowCardinality(String),
    judged_second LowCardinality(String),
    judge_cost Nullable(Decimal(18, 12)) CODEC(ZSTD(1)),
    judge_currency LowCardinality(String),

    INDEX by_call_id call_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_shadow_of shadow_of TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY received_on
ORDER BY (workload, provider, started_at)
SETTINGS non_replicated_deduplication_window = 10000;

-- What taps did not mirror, and why, or did (reason = 'mirrored'): a tap's counts of one hour, as last told.
CREATE TABLE mirroring
(
    cluster LowCardinality(String),
    tap String,
    hour DateTime('UTC'),
    workload LowCardinality(String),
    reason LowCardinality(String),
    calls UInt64,
    at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (hour, workload, reason, cluster, tap);

-- What users said of answers, read from llm.feedback: one row per event_id.
CREATE TABLE feedback
(
    event_id String,
    call_id String,
    at DateTime64(3, 'UTC'),
    rating Decimal(5, 4),
    comment String CODEC(ZSTD(1)),
    source LowCardinality(String),
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3),

    INDEX by_call_id call_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(inserted_at)
ORDER BY event_id;
