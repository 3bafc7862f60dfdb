-- Messages and records that could not be used; value keeps at most its first 4,000 bytes here.
CREATE OR REPLACE VIEW v_rejected AS
SELECT received_at, inserted_at, reason, detail, length(value) AS bytes, substring(value, 1, 4000) AS value,
    concat(topic, '/', toString(kafka_partition), '/', toString(kafka_offset), '/', toString(position)) AS origin
FROM rejected
