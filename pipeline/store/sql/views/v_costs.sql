-- Cost per minute and currency, with the same amount in USD and CNY at the rate of that day
-- (NULL where no rate is known). calls = calls whose cost is known in that currency.
CREATE OR REPLACE VIEW v_costs AS
WITH native AS
(
    SELECT
        minute, workload, provider, model, arm, stage,
        amount.1 AS currency, amount.2 AS cost, r.priced[amount.1] AS calls,
        toDate(minute) AS day, 'USD' AS usd, 'CNY' AS cny
    FROM calls_per_minute AS r
    ARRAY JOIN CAST(r.cost, 'Array(Tuple(String, Decimal(38, 12)))') AS amount
)
SELECT
    minute, workload, provider, model, arm, stage, currency, cost, calls,
    if(currency = 'USD', toNullable(cost), toDecimal128OrNull(toString(cost * usd_rate.rate), 12)) AS cost_usd,
    if(currency = 'CNY', toNullable(cost), toDecimal128OrNull(toString(cost * cny_rate.rate), 12)) AS cost_cny
FROM native
ASOF LEFT JOIN (SELECT from_currency, to_currency, valid_from, toNullable(rate) AS rate FROM v_fx) AS usd_rate
    ON native.currency = usd_rate.from_currency AND native.usd = usd_rate.to_currency AND native.day >= usd_rate.valid_from
ASOF LEFT JOIN (SELECT from_currency, to_currency, valid_from, toNullable(rate) AS rate FROM v_fx) AS cny_rate
    ON native.currency = cny_rate.from_currency AND native.cny = cny_rate.to_currency AND native.day >= cny_rate.valid_from
