-- Users' calls in the order in which they came, with no more than the judge needs: read once, from
-- where it left off. What is read becomes units; nothing else reads this table.
CREATE TABLE arrivals
(
    cluster LowCardinality(String),
    topic LowCardinality(String),
    kafka_partition UInt32 CODEC(T64, ZSTD(1)),
    kafka_offset UInt64 CODEC(Delta, ZSTD(1)),
    position UInt32 CODEC(T64, ZSTD(1)),
    received_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    call_id String CODEC(ZSTD(1)),
    request_id String CODEC(ZSTD(1)),
    attempt UInt16 CODEC(T64, ZSTD(1)),
    conversation_id String CODEC(ZSTD(1)),
    workload LowCardinality(String),
    app LowCardinality(String),
    team LowCardinality(String),
    tags Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    arm LowCardinality(String),
    stage LowCardinality(String),
    share Nullable(Float64) CODEC(ZSTD(1)),
    provider LowCardinality(String),
    started_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    time_to_first_token_ms Nullable(UInt32) CODEC(T64, ZSTD(1)),
    duration_ms Nullable(UInt32) CODEC(T64, ZSTD(1)),
    fault LowCardinality(String),
    cost Nullable(Decimal(18, 12)) CODEC(ZSTD(1)),
    currency LowCardinality(String),
    quality Nullable(Decimal(5, 4)) CODEC(ZSTD(1)),
    checks Map(LowCardinality(String), Decimal(5, 4)) CODEC(ZSTD(1)),
    doubts Array(LowCardinality(String))
)
ENGINE = MergeTree
ORDER BY (cluster, topic, kafka_partition, kafka_offset, position)
TTL toDateTime(received_at) + INTERVAL 14 DAY
SETTINGS non_replicated_deduplication_window = 50000;

CREATE MATERIALIZED VIEW arrivals_mv TO arrivals AS
SELECT
    cluster, topic, kafka_partition, kafka_offset, position, received_at, call_id, request_id, attempt,
    conversation_id, workload, app, team, tags, arm, stage, share, provider, started_at,
    time_to_first_token_ms, duration_ms, fault, cost, currency, quality, checks, doubts
FROM calls
WHERE workload != '' AND arm IN ('baseline', 'candidate');

-- Closed conversations as they were judged: never changed afterwards, so that all verdicts can be
-- recomputed from this table. Each batch is one atomic INSERT whose token is its number: of two
-- workers that take themselves for the judge the store keeps the first one's. Conversations that
-- came after their turn (late) are shown, and are no evidence.
CREATE TABLE units
(
    batch UInt64 CODEC(Delta, ZSTD(1)),
    writer LowCardinality(String),
    workload LowCardinality(String),
    provider LowCardinality(String),
    arm LowCardinality(String),
    conversation_id String CODEC(ZSTD(1)),
    assigned_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    closed_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    failed Bool,
    score Nullable(Float64) CODEC(ZSTD(1)),
    cost Nullable(Decimal(38, 12)) CODEC(ZSTD(1)),
    currency LowCardinality(String),
    ttft_ms Nullable(UInt32) CODEC(T64, ZSTD(1)),
    duration_ms Nullable(UInt32) CODEC(T64, ZSTD(1)),
    share Nullable(Float64) CODEC(ZSTD(1)),
    checks Map(LowCardinality(String), Float64) CODEC(ZSTD(1)),
    shares Map(LowCardinality(String), Float64) CODEC(ZSTD(1)),
    late Bool,

    INDEX by_batch batch TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
ORDER BY (workload, assigned_at, conversation_id)
SETTINGS non_replicated_deduplication_window = 50000;

-- Which conversations have been judged, for a quick answer when one more of their calls comes.
CREATE TABLE judged
(
    conversation UInt64 CODEC(ZSTD(1))
)
ENGINE = MergeTree
ORDER BY conversation
SETTINGS index_granularity = 256, non_replicated_deduplication_window = 50000;

CREATE MATERIALIZED VIEW judged_mv TO judged AS
SELECT cityHash64(toString(workload), conversation_id) AS conversation FROM units;

-- Calls that came after their conversation was judged: shown, never merged.
CREATE TABLE late_calls
(
    workload LowCardinality(String),
    provider LowCardinality(String),
    call_id String,
    started_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (workload, provider, call_id);

-- How far the judge has read each partition, written before the units of that batch: a new judge goes on
-- there. JSON: [cluster, topic, partition, from which open conversations must be read again, read to].
CREATE TABLE judge_positions
(
    batch UInt64,
    writer LowCardinality(String),
    at DateTime64(3, 'UTC') DEFAULT now64(3),
    positions String CODEC(ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (batch, at)
TTL toDateTime(at) + INTERVAL 30 DAY;

-- The fold's memory now and then, so that a new judge need not begin with the first unit.
CREATE TABLE judge_states
(
    workload LowCardinality(String),
    candidate LowCardinality(String),
    epoch UInt32,
    formulas UInt32,
    at DateTime64(3, 'UTC') DEFAULT now64(3),
    state String CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (workload, candidate, epoch, formulas);

-- Beginnings of evidence: the gates as they were set, by whom, when, and whether data had come before.
CREATE TABLE epochs
(
    workload LowCardinality(String),
    candidate LowCardinality(String),
    epoch UInt32,
    epoch_hash String,
    plan_hash String,
    starts_at DateTime64(3, 'UTC'),
    recorded_at DateTime64(3, 'UTC') DEFAULT now64(3),
    set_by String,
    after_data Bool,
    gates String CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(recorded_at)
ORDER BY (workload, candidate, epoch);

-- What the judge said: a row for every change (changed), and now and then one more.
CREATE TABLE verdicts
(
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    workload LowCardinality(String),
    candidate LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    epoch UInt32,
    verdict LowCardinality(String),
    since DateTime64(3, 'UTC'),
    reason_en String CODEC(ZSTD(1)),
    reason_zh String CODEC(ZSTD(1)),
    stage LowCardinality(String),
    share Float64,
    units_baseline UInt64,
    units_candidate UInt64,
    late_calls UInt64,
    late_units UInt64,
    plan_hash String CODEC(ZSTD(1)),
    set_by String,
    after_data Bool,
    proven Bool,
    formulas UInt32,
    gates String CODEC(ZSTD(1)),
    changed Bool
)
ENGINE = MergeTree
ORDER BY (workload, candidate, at)
TTL toDateTime(at) + INTERVAL 14 DAY DELETE WHERE NOT changed;

-- The path of the evidence, thinned: at is when the last conversation folded was assigned.
CREATE TABLE evidence
(
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    workload LowCardinality(String),
    candidate LowCardinality(String),
    epoch UInt32,
    gate LowCardinality(String),
    units_baseline UInt64 CODEC(Delta, ZSTD(1)),
    units_candidate UInt64 CODEC(Delta, ZSTD(1)),
    log_e_promote Nullable(Float64) CODEC(ZSTD(1)),
    log_e_rollback Nullable(Float64) CODEC(ZSTD(1)),
    estimate Nullable(Float64) CODEC(ZSTD(1)),
    lower Nullable(Float64) CODEC(ZSTD(1)),
    upper Nullable(Float64) CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (workload, candidate, epoch, gate, at);
