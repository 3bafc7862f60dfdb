-- The account in calls, one row per Kafka cluster, the current one first, with what still waits in
-- Kafka and when each side was last heard of.
SELECT
    cluster, current, produced, waiting, dropped, resent, produced_at, stored, rejected, duplicates,
    ignored, uncounted, stored_rows, rejected_rows, kafka.messages_in_flight AS messages_in_flight,
    kafka.observed_at AS observed_at,
    (SELECT last_batch_at FROM v_freshness) AS last_batch_at
FROM v_account
LEFT JOIN
(
    SELECT cluster, sum(in_flight) AS messages_in_flight, max(observed_at) AS observed_at
    FROM v_partitions
    GROUP BY cluster
) AS kafka USING (cluster)
ORDER BY current DESC, produced_at DESC
