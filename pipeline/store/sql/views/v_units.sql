-- Closed conversations as they were judged, in the order in which they were; late ones are no evidence.
CREATE OR REPLACE VIEW v_units AS
SELECT
    workload, provider, arm, conversation_id, assigned_at, closed_at, failed, score, cost, currency, ttft_ms,
    duration_ms, share, checks, shares, late
FROM units
