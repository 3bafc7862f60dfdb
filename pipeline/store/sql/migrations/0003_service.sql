-- What happened in the migration: stage changes, verdicts, incidents; read from rollout.events.
CREATE TABLE events
(
    event_id String,
    at DateTime64(3, 'UTC'),
    kind LowCardinality(String),
    workload LowCardinality(String),
    provider LowCardinality(String),
    fields String CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (at, event_id);

-- The latest word of each producer on how many calls it made and what became of them.
CREATE TABLE producers
(
    cluster LowCardinality(String),
    producer String,
    at DateTime64(3, 'UTC'),
    produced UInt64,
    sent UInt64,
    waiting UInt64,
    dropped UInt64
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (cluster, producer);

-- Where each partition began and ends in Kafka, as last seen by a worker.
CREATE TABLE partitions
(
    cluster LowCardinality(String),
    topic LowCardinality(String),
    kafka_partition UInt32,
    first_offset UInt64,
    end_offset UInt64,
    observed_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(observed_at)
ORDER BY (cluster, topic, kafka_partition);

-- Every plan that was in force, as a JSON document.
CREATE TABLE plans
(
    plan_hash String,
    recorded_at DateTime64(3, 'UTC') DEFAULT now64(3),
    document String CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(recorded_at)
ORDER BY plan_hash;

-- Dated exchange rates from facts/fx.yml: one unit of from_currency is rate units of to_currency.
CREATE TABLE fx_rates
(
    from_currency LowCardinality(String),
    to_currency LowCardinality(String),
    valid_from Date,
    rate Decimal(18, 9),
    estimated Bool
)
ENGINE = ReplacingMergeTree
ORDER BY (from_currency, to_currency, valid_from);


-- What `cutover audit` found when it counted the raw rows again.
CREATE TABLE audits
(
    at DateTime64(3, 'UTC') DEFAULT now64(3),
    since DateTime64(3, 'UTC'),
    ok Bool,
    first_discrepancy String,
    batches UInt64,
    calls UInt64,
    rejected UInt64,
    duplicates UInt64
)
ENGINE = MergeTree
ORDER BY at;
