-- The last audits, the newest first.
SELECT at, ok, scope, first_discrepancy, batches, calls, rejected, duplicates
FROM v_audits
ORDER BY at DESC
LIMIT 5
