-- Rejected records that were sent again. Their new sending is a production of its own, stored or rejected
-- under a place of its own; the rejected row stays, as the account needs it.
CREATE TABLE retries
(
    cluster LowCardinality(String),
    topic LowCardinality(String),
    kafka_partition UInt32,
    kafka_offset UInt64,
    position UInt32,
    retried_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(retried_at)
ORDER BY (cluster, topic, kafka_partition, kafka_offset, position);
