-- Calls whose cost is unknown.
SELECT provider, model, reason, calls, last_hour FROM v_unpriced ORDER BY calls DESC LIMIT 50
