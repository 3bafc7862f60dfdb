-- Two candidates of one provider are told apart by their models: as asked for, and as the catalog names it.
ALTER TABLE arrivals ADD COLUMN request_model LowCardinality(String) AFTER provider;
ALTER TABLE arrivals ADD COLUMN model LowCardinality(String) AFTER request_model;

ALTER TABLE arrivals_mv MODIFY QUERY
SELECT
    cluster, topic, kafka_partition, kafka_offset, position, received_at, call_id, request_id, attempt,
    conversation_id, workload, app, team, tags, arm, stage, share, provider, request_model, model, started_at,
    time_to_first_token_ms, duration_ms, fault, cost, currency, quality, checks, doubts
FROM calls
WHERE workload != '' AND arm IN ('baseline', 'candidate');

-- As the plan's endpoint names it, where it names it.
ALTER TABLE units ADD COLUMN model LowCardinality(String) AFTER provider;
