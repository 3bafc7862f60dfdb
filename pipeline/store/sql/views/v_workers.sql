-- Workers that stored something in the last hour: how many batches and calls, from how many partitions, when last.
CREATE OR REPLACE VIEW v_workers AS
SELECT
    worker, count() AS batches, sum(l.stored) AS calls, uniqExact(topic, kafka_partition) AS partitions,
    max(inserted_at) AS last_at
FROM ledger AS l
WHERE inserted_at > now() - 3600
GROUP BY worker
ORDER BY last_at DESC
