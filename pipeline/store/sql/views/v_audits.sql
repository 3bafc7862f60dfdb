-- Results of `cutover audit`, one row each: what was stored since `scope` agrees with itself, or the first
-- difference in words.
CREATE OR REPLACE VIEW v_audits AS
SELECT at, ok, since AS scope, first_discrepancy, batches, calls, rejected, duplicates
FROM audits
