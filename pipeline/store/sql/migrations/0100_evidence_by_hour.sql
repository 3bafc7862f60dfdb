-- The path of the evidence over months: of each gate the last row of every hour (at, log_e_promote, log_e_rollback,
-- estimate, lower, upper). Two rows that a replay wrote for one moment are alike, so either may stay.
CREATE TABLE evidence_by_hour
(
    workload LowCardinality(String),
    candidate LowCardinality(String),
    epoch UInt32,
    gate LowCardinality(String),
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    last AggregateFunction(
        argMax,
        Tuple(DateTime64(3, 'UTC'), Nullable(Float64), Nullable(Float64), Nullable(Float64), Nullable(Float64), Nullable(Float64)),
        DateTime64(3, 'UTC')
    )
)
ENGINE = AggregatingMergeTree
ORDER BY (workload, candidate, epoch, gate, hour);

CREATE MATERIALIZED VIEW evidence_by_hour_mv TO evidence_by_hour AS
SELECT
    workload, candidate, epoch, gate, toStartOfHour(at) AS hour,
    argMaxState((at, log_e_promote, log_e_rollback, estimate, lower, upper), at) AS last
FROM evidence
GROUP BY workload, candidate, epoch, gate, hour;

INSERT INTO evidence_by_hour
SELECT
    workload, candidate, epoch, gate, toStartOfHour(at) AS hour,
    argMaxState((at, log_e_promote, log_e_rollback, estimate, lower, upper), at) AS last
FROM evidence
GROUP BY workload, candidate, epoch, gate, hour;
