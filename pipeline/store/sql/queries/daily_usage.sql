-- What the providers were used for, per day (UTC), model, flat-rate plan and currency, shadow calls
-- included: they are on the bill too. Where the list cost is unknown it is NULL and the currency ''.
SELECT
    toDate(at) AS day, provider, model, flat_rate_plan, currency,
    sum(u.calls) AS calls, sum(u.tokens) AS tokens, sum(u.cost) AS cost
FROM v_usage AS u
WHERE at < toDateTime({until:Date}, 'UTC')
GROUP BY day, provider, model, flat_rate_plan, currency
HAVING calls > 0
ORDER BY day, provider, model, flat_rate_plan, currency
