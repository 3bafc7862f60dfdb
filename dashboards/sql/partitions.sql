-- The account in messages, partition by partition; clusters that live first.
SELECT cluster, topic, kafka_partition, produced, read, in_flight, gaps, stored, rejected, duplicates, observed_at, current
FROM v_partitions
ORDER BY current DESC, cluster, topic, kafka_partition
