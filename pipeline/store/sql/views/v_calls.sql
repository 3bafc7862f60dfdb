-- One row per call, shadow calls included (arm = 'shadow'); costs in native currency.
CREATE OR REPLACE VIEW v_calls AS
SELECT * EXCEPT (batch_to, received_on, cluster, topic, kafka_partition, kafka_offset, position),
    concat(topic, '/', toString(kafka_partition), '/', toString(kafka_offset), '/', toString(position)) AS origin
FROM calls
