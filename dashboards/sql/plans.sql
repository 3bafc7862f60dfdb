-- Every plan there was, in the order they came into force.
SELECT recorded_at, plan_hash, set_by, document, begun FROM v_plans ORDER BY recorded_at
