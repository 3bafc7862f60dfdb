-- What happened, newest last; fields is a JSON object.
CREATE OR REPLACE VIEW v_events AS
SELECT event_id, at, kind, workload, provider, fields
FROM events FINAL
