-- Workers of the last hour.
SELECT worker, batches, calls, partitions, last_at FROM v_workers LIMIT 50
