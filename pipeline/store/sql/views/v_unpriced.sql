-- Calls whose cost is unknown, by provider and model, with the reason: what to add to the facts.
-- Calls that a cost version has priced are no longer among them.
CREATE OR REPLACE VIEW v_unpriced AS
SELECT provider, model, reason, sum(still.calls) AS calls, max(still.hour) AS last_hour
FROM
(
    SELECT provider, model, reason, hour, sum(each.calls) AS calls
    FROM
    (
        SELECT provider, model, unknown.1 AS reason, minute AS hour, toInt64(unknown.2) AS calls
        FROM calls_per_hour AS r
        ARRAY JOIN CAST(r.unpriced, 'Array(Tuple(String, UInt64))') AS unknown
        UNION ALL
        SELECT provider, model, toString(unknown) AS reason, toStartOfHour(minute) AS hour, calls
        FROM cost_changes_per_minute
        WHERE unknown != '' AND run IN (SELECT run FROM cost_versions)
    ) AS each
    GROUP BY provider, model, reason, hour
    HAVING calls > 0
) AS still
GROUP BY provider, model, reason
