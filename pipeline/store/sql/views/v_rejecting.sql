-- One row: what became of the records of the last minute. mostly: more than half were rejected, and they were
-- at least 20; then the fault is likely in the reader and not in the records.
CREATE OR REPLACE VIEW v_rejecting AS
SELECT
    records, rejected,
    records >= 20 AND rejected * 2 > records AS mostly,
    (SELECT topK(1)(reason)[1] FROM rejected WHERE inserted_at >= now64(3) - INTERVAL 1 MINUTE) AS reason
FROM
(
    SELECT sum(ledger.stored + ledger.rejected + ledger.duplicates) AS records, sum(ledger.rejected) AS rejected
    FROM ledger
    WHERE inserted_at >= now64(3) - INTERVAL 1 MINUTE
)
