-- When which plan came into force, and who wrote it: a row each time another plan than the one before is recorded.
-- The documents stay in plans, which keeps one row of a plan that came into force twice.
CREATE TABLE plan_changes
(
    recorded_at DateTime64(3, 'UTC') DEFAULT now64(3),
    plan_hash String,
    set_by String
)
ENGINE = MergeTree
ORDER BY recorded_at;

INSERT INTO plan_changes (recorded_at, plan_hash, set_by)
SELECT recorded_at, plan_hash, '' FROM plans FINAL;
