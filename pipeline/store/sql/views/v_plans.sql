-- Every plan there was, as JSON, in the order they came into force; set_by is the owner of the plan's file, ''
-- where that was not recorded. begun: when the first calls were stored (NULL: none yet).
CREATE OR REPLACE VIEW v_plans AS
SELECT change.recorded_at AS recorded_at, change.plan_hash AS plan_hash, change.set_by AS set_by, known.document AS document,
    (SELECT if(count() = 0, NULL, min(inserted_at)) FROM ledger) AS begun
FROM plan_changes AS change
INNER JOIN (SELECT plan_hash, document FROM plans FINAL) AS known USING (plan_hash)
ORDER BY recorded_at
