-- Cost per minute and currency as of the newest cost version; rows add up.
CREATE OR REPLACE VIEW v_costs AS
SELECT minute, workload, provider, model, arm, stage, currency, cost, calls, cost_usd, cost_cny
FROM v_cost_at_version(version = 4294967295)
