-- How old the numbers are; 1970 stands for never.
SELECT now, last_batch_at, last_stored_at, calls, p50_ms, p99_ms, calls_per_second FROM v_freshness
