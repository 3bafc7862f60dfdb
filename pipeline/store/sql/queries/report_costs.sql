-- What users' calls cost per day and provider, in the report's currency, from {since} to before {until}.
SELECT toDate(minute) AS day, provider, sum(amount) AS cost, sum(calls) AS priced
FROM (SELECT *, if({currency:String} = 'CNY', cost_cny, cost_usd) AS amount FROM v_costs)
WHERE isNotNull(amount) AND arm != 'shadow' AND minute >= {since:DateTime} AND minute < {until:DateTime}
GROUP BY day, provider
ORDER BY day, provider
