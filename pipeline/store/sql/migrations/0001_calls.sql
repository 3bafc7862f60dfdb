-- One row per scored call. The first block says where it was read: with (cluster, topic,
-- kafka_partition, kafka_offset, position) a row can be found again in Kafka. A batch goes to one partition (received_on is the same for all its rows): its INSERT is atomic.
CREATE TABLE calls
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
    request_id String CODEC(ZSTD(1)),
    attempt UInt16 CODEC(T64, ZSTD(1)),
    final Bool,
    source LowCardinality(String),
    conversation_id String CODEC(ZSTD(1)),
    workload LowCardinality(String),
    app LowCardinality(String),
    team LowCardinality(String),
    tags Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    arm LowCardinality(String),
    stage LowCardinality(String),
    share Nullable(Float64) CODEC(ZSTD(1)),
    shadow_of String CODEC(ZSTD(1)),
    provider LowCardinality(String),
    host LowCardinality(String),
    protocol LowCardinality(String),
    request_model LowCardinality(String),
    response_model LowCardinality(String),
    model LowCardinality(String),
    started_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    time_to_first_token_ms Nullable(UInt32) CODEC(T64, ZSTD(1)),
    duration_ms Nullable(UInt32) CODEC(T64, ZSTD(1)),
    stream Nullable(Bool),
    http_status Nullable(UInt16) CODEC(T64, ZSTD(1)),
    finish_reason LowCardinality(String),
    failure LowCardinality(String),
    failure_code LowCardinality(String),
    failure_message String CODEC(ZSTD(1)),
    fault LowCardinality(String),
    input_tokens Nullable(UInt64) CODEC(T64, ZSTD(1)),
    cache_read_input_tokens Nullable(UInt64) CODEC(T64, ZSTD(1)),
    cache_write_5m_input_tokens Nullable(UInt64) CODEC(T64, ZSTD(1)),
    cache_write_1h_input_tokens Nullable(UInt64) CODEC(T64, ZSTD(1)),
    output_tokens Nullable(UInt64) CODEC(T64, ZSTD(1)),
    reasoning_output_tokens Nullable(UInt64) CODEC(T64, ZSTD(1)),
    usage_estimated Bool,
    cost Nullable(Decimal(18, 12)) CODEC(ZSTD(1)),
    currency LowCardinality(String),
    price_id LowCardinality(String),
    cost_estimated Bool,
    cost_unknown LowCardinality(String),
    gateway_cost_usd Nullable(Decimal(18, 12)) CODEC(ZSTD(1)),
    quality Nullable(Decimal(5, 4)) CODEC(ZSTD(1)),
    checks Map(LowCardinality(String), Decimal(5, 4)) CODEC(ZSTD(1)),
    evidence Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    checks_version UInt16 CODEC(ZSTD(1)),
    findings Array(LowCardinality(String)),
    doubts Array(LowCardinality(String)),

    INDEX by_call_id call_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_conversation_id conversation_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY received_on
ORDER BY (workload, provider, started_at)
SETTINGS non_replicated_deduplication_window = 50000;

-- What could not be used, with its bytes (keys blanked out), so that it can be sent again.
CREATE TABLE rejected
(
    cluster LowCardinality(String),
    topic LowCardinality(String),
    kafka_partition UInt32,
    kafka_offset UInt64,
    position UInt32,
    received_at DateTime64(3, 'UTC'),
    received_on Date,
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3),
    reason LowCardinality(String),
    detail String,
    value String CODEC(ZSTD(3))
)
ENGINE = MergeTree
PARTITION BY received_on
ORDER BY (received_at, kafka_partition, kafka_offset, position)
SETTINGS non_replicated_deduplication_window = 50000;

-- Where a batch ends, fixed before anything of it is stored. The deduplication token is the batch's
-- start, so that of two workers who claim the same start the store keeps the first one's word and
-- both store the same offsets. Of no use once the ledger has the batch.
CREATE TABLE claims
(
    cluster LowCardinality(String),
    topic LowCardinality(String),
    kafka_partition UInt32,
    offset_from UInt64,
    offset_to UInt64,
    worker String,
    claimed_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = MergeTree
ORDER BY (cluster, topic, kafka_partition, offset_from)
TTL toDateTime(claimed_at) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 50000;

-- One row per batch that is wholly stored: offsets offset_from to offset_to (both included) of a
-- partition are accounted for as calls stored, rejected or duplicate. Written after the batch's
-- rows and before Kafka is told, so Kafka's committed offset never passes it.
CREATE TABLE ledger
(
    cluster LowCardinality(String),
    topic LowCardinality(String),
    kafka_partition UInt32,
    offset_from UInt64,
    offset_to UInt64,
    stored UInt64,
    rejected UInt64,
    duplicates UInt64,
    worker String,
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = MergeTree
ORDER BY (cluster, topic, kafka_partition, offset_from)
SETTINGS non_replicated_deduplication_window = 50000;
