-- The plan in force (the last one recorded) as one JSON document.
CREATE OR REPLACE VIEW v_plan AS
SELECT plan_hash, recorded_at, document
FROM plans
ORDER BY recorded_at DESC
LIMIT 1
