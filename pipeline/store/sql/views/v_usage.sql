-- What was used and what it cost, per ten minutes (`at`): as scored and, in further rows, what later cost versions
-- changed. Add up. Shadow calls are included. Where the cost is unknown it is NULL and the currency ''.
CREATE OR REPLACE VIEW v_usage AS
SELECT
    toStartOfTenMinutes(started_at) AS at, workload, provider, model, arm, flat_rate_plan,
    if(scored.cost >= 0, scored.currency, '') AS currency,
    toInt64(count()) AS calls,
    toInt64(sum(ifNull(input_tokens, 0) + ifNull(output_tokens, 0))) AS tokens,
    sum(scored.cost) AS cost
FROM calls AS scored
GROUP BY at, workload, provider, model, arm, flat_rate_plan, currency
UNION ALL
SELECT
    toStartOfTenMinutes(started_at) AS at, workload, provider, model, arm, flat_rate_plan,
    if(isNull(side.2), '', side.3) AS currency,
    sum(side.1) AS calls,
    sum(side.1 * toInt64(ifNull(input_tokens, 0) + ifNull(output_tokens, 0))) AS tokens,
    sum(side.1 * side.2) AS cost
FROM
(
    SELECT
        changed.*,
        arrayJoin([
            (toInt64(-1), changed.cost, toString(changed.currency)),
            (toInt64(1), change.newest.1, toString(change.newest.2))
        ]) AS side
    FROM calls AS changed
    INNER JOIN
    (
        SELECT
            started_at, call_id, cluster, topic, kafka_partition, kafka_offset, position,
            argMax((new_cost, new_currency), version) AS newest
        FROM cost_changes
        WHERE run IN (SELECT run FROM cost_versions)
        GROUP BY started_at, call_id, cluster, topic, kafka_partition, kafka_offset, position
    ) AS change USING (started_at, call_id, cluster, topic, kafka_partition, kafka_offset, position)
    WHERE (workload, provider) IN (SELECT workload, provider FROM cost_changes)
        AND started_at >= (SELECT min(started_at) FROM cost_changes)
)
GROUP BY at, workload, provider, model, arm, flat_rate_plan, currency
