-- One row per shadow call and comparison with the user's call (shadow_of): value 1 is full agreement.
-- mirrored_to: candidate, or baseline for the pairs that show how much the baseline differs from itself.
CREATE OR REPLACE VIEW v_pairs AS
SELECT
    started_at AS at, workload, provider, model, mirrored_to, conversation_id, call_id, shadow_of,
    check, toFloat64(agreement[check]) AS value, evidence[check] AS evidence
FROM pairs
ARRAY JOIN mapKeys(agreement) AS check
