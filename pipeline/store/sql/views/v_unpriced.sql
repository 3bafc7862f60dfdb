-- Calls whose cost is unknown, by provider and model, with the reason: what to add to the facts.
-- Calls that a cost version has priced are no longer among them.
CREATE OR REPLACE VIEW v_unpriced AS
SELECT provider, model, reason, sum(still.calls) AS calls, max(still.minute) AS last_minute
FROM
(
    SELECT provider, model, reason, minute, sum(each.calls) AS calls
    FROM
    (
        SELECT provider, model, unknown.1 AS reason, minute, toInt64(unknown.2) AS calls
        FROM calls_per_minute AS r
        ARRAY JOIN CAST(r.unpriced, 'Array(Tuple(String, UInt64))') AS unknown
        UNION ALL
        SELECT provider, model, toString(unknown) AS reason, minute, calls
        FROM cost_changes_per_minute
        WHERE unknown != '' AND run IN (SELECT run FROM cost_versions)
    ) AS each
    GROUP BY provider, model, reason, minute
    HAVING calls > 0
) AS still
GROUP BY provider, model, reason
