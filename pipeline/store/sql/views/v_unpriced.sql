-- Calls whose cost is unknown, by provider and model, with the reason: what to add to the facts.
CREATE OR REPLACE VIEW v_unpriced AS
SELECT r.provider AS provider, r.model AS model, unknown.1 AS reason, sum(unknown.2) AS calls, max(r.minute) AS last_minute
FROM calls_per_minute AS r
ARRAY JOIN CAST(r.unpriced, 'Array(Tuple(String, UInt64))') AS unknown
GROUP BY provider, model, reason
