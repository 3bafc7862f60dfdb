-- Batches stored since then whose rows are not what the ledger says: counted from the rows, each of which
-- belongs to the last batch that begins at or before its offset. A row beyond the last batch's end belongs to a
-- batch that is being stored; one beyond another batch's end belongs to none.
WITH
    book AS
    (
        SELECT
            cluster, topic, kafka_partition, offset_from, offset_to, stored, rejected,
            offset_to = max(offset_to) OVER (PARTITION BY cluster, topic, kafka_partition) AS newest
        FROM ledger
        WHERE inserted_at >= {since:DateTime64(3, 'UTC')}
    ),
    found AS
    (
        SELECT
            cluster, topic, kafka_partition, offset_from,
            countIf(is_call AND kafka_offset <= offset_to) AS calls,
            countIf(NOT is_call AND kafka_offset <= offset_to) AS rejects,
            uniqExactIf((kafka_offset, position), kafka_offset <= offset_to) AS places,
            countIf(kafka_offset > offset_to AND NOT newest) AS strays
        FROM
        (
            SELECT cluster, topic, kafka_partition, kafka_offset, position, true AS is_call FROM calls
            UNION ALL
            SELECT cluster, topic, kafka_partition, kafka_offset, position, false FROM rejected
        ) AS one
        ASOF JOIN book ON one.cluster = book.cluster AND one.topic = book.topic
            AND one.kafka_partition = book.kafka_partition AND one.kafka_offset >= book.offset_from
        GROUP BY cluster, topic, kafka_partition, offset_from
    )
SELECT
    cluster, topic, kafka_partition, offset_from, offset_to, stored, rejected,
    found.calls AS calls, found.rejects AS rejects, found.places AS places, found.strays AS strays
FROM book LEFT JOIN found USING (cluster, topic, kafka_partition, offset_from)
WHERE stored != calls OR rejected != rejects OR places != calls + rejects OR strays > 0
ORDER BY cluster, topic, kafka_partition, offset_from
LIMIT 1
