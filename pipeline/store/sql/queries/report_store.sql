-- How much is stored, since when, how old it is, and whether the account of the cluster in use balances.
-- 1970 stands for never.
SELECT
    now64(3) AS now,
    (SELECT min(minute) FROM v_minutes) AS first_minute,
    (SELECT last_stored_at FROM v_freshness) AS last_stored_at,
    (SELECT last_batch_at FROM v_freshness) AS last_batch_at,
    (SELECT sum(m.calls) FROM v_minutes AS m) AS calls,
    (SELECT sum(m.calls) FROM v_minutes AS m WHERE m.arm = 'shadow') AS shadow_calls,
    (SELECT count() FROM v_rejected) AS rejected,
    (SELECT sum(u.calls) FROM v_unpriced AS u) AS unpriced
