-- Calls whose cost is unknown because the facts lack a model or price, most first.
SELECT provider, model, reason, calls
FROM v_unpriced
WHERE reason IN ('unknown_model', 'no_price')
ORDER BY calls DESC, provider, model
LIMIT 5
