-- The account in calls, one row per Kafka cluster: what producers made (and what came from senders who do
-- not count, as far as it was read: uncounted) against what the ledger has
-- and the tables hold (stored_rows and rejected_rows are counted from the rows themselves).
-- Of resent calls Kafka may have two: stored + rejected + duplicates may be that much above
-- produced - dropped, and not one more.
-- A cluster that is gone (a memory-only broker that was restarted) is current = false.
CREATE OR REPLACE VIEW v_account AS
SELECT
    cluster,
    cluster = (SELECT argMax(cluster, observed_at) FROM partitions) AS current,
    sum(made.produced) + sum(book.uncounted) AS produced,
    sum(book.uncounted) AS uncounted,
    sum(made.waiting) AS waiting,
    sum(made.dropped) AS dropped,
    sum(made.resent) AS resent,
    max(made.at) AS produced_at,
    sum(book.stored) AS stored,
    sum(book.rejected) AS rejected,
    sum(book.duplicates) AS duplicates,
    sum(book.ignored) AS ignored,
    sum(call_rows.count) AS stored_rows,
    sum(reject_rows.count) AS rejected_rows
FROM (SELECT cluster, sum(produced) AS produced, sum(waiting) AS waiting, sum(dropped) AS dropped, sum(resent) AS resent, max(at) AS at FROM producers FINAL GROUP BY cluster) AS made
FULL JOIN (SELECT cluster, sum(stored) AS stored, sum(rejected) AS rejected, sum(duplicates) AS duplicates, sum(ignored) AS ignored, sum(uncounted) AS uncounted FROM ledger GROUP BY cluster) AS book USING (cluster)
LEFT JOIN (SELECT cluster, count() AS count FROM calls GROUP BY cluster) AS call_rows USING (cluster)
LEFT JOIN (SELECT cluster, count() AS count FROM rejected GROUP BY cluster) AS reject_rows USING (cluster)
GROUP BY cluster
