-- Calls whose cost is unknown.
SELECT provider, model, reason, calls, last_minute FROM v_unpriced ORDER BY calls DESC LIMIT 50
