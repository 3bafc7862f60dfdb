-- Offsets of a partition that no batch covers, or that two cover, among the batches stored since then: a batch
-- must begin where the one before it ended.
SELECT cluster, topic, kafka_partition, expected, offset_from
FROM
(
    SELECT
        cluster, topic, kafka_partition, offset_from,
        1 + lagInFrame(toNullable(offset_to)) OVER
        (
            PARTITION BY cluster, topic, kafka_partition ORDER BY offset_from
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS expected
    FROM ledger
    WHERE inserted_at >= {since:DateTime64(3, 'UTC')}
)
WHERE offset_from != expected
ORDER BY cluster, topic, kafka_partition, offset_from
LIMIT 1
