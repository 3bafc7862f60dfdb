-- Every call as stored, with its newest cost and the cost version that is from (0: as scored).
-- Time and call_id are in the join so that a filter on them reaches both sides.
CREATE OR REPLACE VIEW v_priced_calls AS
SELECT
    calls.* REPLACE
    (
        if(change.version = 0, calls.cost, change.newest.1) AS cost,
        if(change.version = 0, calls.currency, change.newest.2) AS currency,
        if(change.version = 0, calls.price_id, change.newest.3) AS price_id,
        if(change.version = 0, calls.cost_estimated, change.newest.4) AS cost_estimated,
        if(change.version = 0, calls.cost_unknown, change.newest.5) AS cost_unknown
    ),
    change.version AS cost_version
FROM calls
LEFT JOIN
(
    SELECT
        started_at, call_id, cluster, topic, kafka_partition, kafka_offset, position,
        max(c.version) AS version,
        argMax((new_cost, new_currency, new_price_id, new_cost_estimated, new_cost_unknown), c.version) AS newest
    FROM cost_changes AS c
    WHERE run IN (SELECT run FROM cost_versions)
    GROUP BY started_at, call_id, cluster, topic, kafka_partition, kafka_offset, position
) AS change USING (started_at, call_id, cluster, topic, kafka_partition, kafka_offset, position)
