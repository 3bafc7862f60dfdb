-- One row per call, shadow calls included (arm = 'shadow'); costs in native currency, as of the
-- newest cost version (cost_version is the one a call's cost is from, 0 if it is as scored). received_on
-- is the day on which the first of the calls it was stored with came: the days before it need not be looked through.
CREATE OR REPLACE VIEW v_calls AS
SELECT * EXCEPT (cluster, topic, kafka_partition, kafka_offset, position),
    concat(topic, '/', toString(kafka_partition), '/', toString(kafka_offset), '/', toString(position)) AS origin
FROM v_priced_calls
