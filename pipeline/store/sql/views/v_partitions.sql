-- The account in messages, one row per Kafka partition: produced = read + in_flight. gaps counts
-- offsets below read_to that no ledger row covers, or that two cover: it must be 0. A partition
-- of a cluster that is gone (a memory-only broker that was restarted) is current = false.
CREATE OR REPLACE VIEW v_partitions AS
SELECT
    cluster, topic, kafka_partition,
    ends.end_offset - ends.first_offset AS produced,
    book.messages AS read,
    greatest(ends.end_offset, book.read_to) - book.read_to AS in_flight,
    abs(toInt64(book.read_to - book.read_from) - toInt64(book.messages)) AS gaps,
    book.stored AS stored, book.rejected AS rejected, book.duplicates AS duplicates,
    ends.observed_at AS observed_at,
    cluster = (SELECT argMax(cluster, observed_at) FROM partitions) AS current
FROM (SELECT * FROM partitions FINAL) AS ends
LEFT JOIN
(
    SELECT
        cluster, topic, kafka_partition,
        min(offset_from) AS read_from,
        max(offset_to) + 1 AS read_to,
        sum(offset_to - offset_from + 1) AS messages,
        sum(stored) AS stored, sum(rejected) AS rejected, sum(duplicates) AS duplicates
    FROM ledger
    GROUP BY cluster, topic, kafka_partition
) AS book USING (cluster, topic, kafka_partition)
