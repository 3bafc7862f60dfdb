-- The account of the Kafka cluster in use. settling: the producers' last word is older than the last batch.
SELECT produced, stored, rejected, duplicates, ignored, resent,
    produced_at < (SELECT last_batch_at FROM v_freshness) AS settling
FROM v_account
WHERE current
