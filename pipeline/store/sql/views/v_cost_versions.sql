-- The cost versions there are, for v_cost_at_version: which calls were reckoned again, when and why.
CREATE OR REPLACE VIEW v_cost_versions AS
SELECT version, applied_at, note, since, until, provider, facts, calls
FROM cost_versions
