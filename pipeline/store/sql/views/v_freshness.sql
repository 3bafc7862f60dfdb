-- How old the numbers are: last_stored_at is when the newest call became visible; the delays are
-- from the end of a call to its row, for calls stored in the last five minutes.
CREATE OR REPLACE VIEW v_freshness AS
SELECT
    now64(3) AS now,
    (SELECT max(inserted_at) FROM ledger) AS last_batch_at,
    (SELECT max(last_inserted_at) FROM calls_per_minute WHERE minute > now() - 86400) AS last_stored_at,
    recent.calls AS calls, recent.p50_ms AS p50_ms, recent.p99_ms AS p99_ms, recent.calls / 300 AS calls_per_second
FROM
(
    SELECT
        count() AS calls,
        quantileExact(0.5)(delay) AS p50_ms,
        quantileExact(0.99)(delay) AS p99_ms
    FROM
    (
        SELECT toUnixTimestamp64Milli(inserted_at) - toUnixTimestamp64Milli(started_at) - ifNull(duration_ms, 0) AS delay
        FROM calls
        WHERE received_on >= today() - 1 AND inserted_at > now64(3) - 300 AND started_at > now64(3) - 900
    )
) AS recent
