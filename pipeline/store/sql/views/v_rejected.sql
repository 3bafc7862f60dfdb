-- Messages and records that could not be used; value keeps at most its first 4,000 bytes here. retried says
-- that it was sent again meanwhile, as a record of its own.
CREATE OR REPLACE VIEW v_rejected AS
SELECT received_at, inserted_at, reason, detail, length(value) AS bytes, substring(value, 1, 4000) AS value,
    concat(topic, '/', toString(kafka_partition), '/', toString(kafka_offset), '/', toString(position)) AS origin,
    (cluster, topic, kafka_partition, kafka_offset, position) IN
        (SELECT cluster, topic, kafka_partition, kafka_offset, position FROM retries) AS retried
FROM rejected
