-- How much the ledger holds of what was stored since then.
SELECT count() AS batches, sum(stored) AS calls, sum(rejected) AS rejected, sum(duplicates) AS duplicates
FROM ledger
WHERE inserted_at >= {since:DateTime64(3, 'UTC')}
