-- What the providers were used for, per day (UTC), model, flat-rate plan and currency, shadow calls
-- included: they are on the bill too. Where the list cost is unknown it is NULL and the currency ''.
SELECT
    toDate(started_at) AS day, provider, model, flat_rate_plan, if(isNull(c.cost), '', c.currency) AS currency,
    count() AS calls,
    sum(ifNull(input_tokens, 0) + ifNull(output_tokens, 0)) AS tokens,
    sum(c.cost) AS cost
FROM v_priced_calls AS c
WHERE started_at < toDateTime64({until:Date}, 3, 'UTC')
GROUP BY day, provider, model, flat_rate_plan, currency
ORDER BY day, provider, model, flat_rate_plan, currency
