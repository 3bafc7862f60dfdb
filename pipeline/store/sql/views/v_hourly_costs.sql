-- v_costs by the hour, for long ranges: `minute` is the first of the hour. Rows add up.
CREATE OR REPLACE VIEW v_hourly_costs AS
WITH native AS
(
    SELECT
        minute, workload, provider, model, arm, stage,
        priced.1 AS currency, r.cost[priced.1] AS cost, toInt64(priced.2) AS calls,
        toDate(minute) AS day, 'USD' AS usd, 'CNY' AS cny
    FROM calls_per_hour AS r
    ARRAY JOIN CAST(r.priced, 'Array(Tuple(String, UInt64))') AS priced
    UNION ALL
    SELECT
        toStartOfHour(c.minute) AS minute, workload, provider, model, arm, stage, toString(currency) AS currency,
        sum(c.cost) AS cost, sum(c.calls) AS calls, toDate(minute) AS day, 'USD' AS usd, 'CNY' AS cny
    FROM cost_changes_per_minute AS c
    WHERE unknown = '' AND run IN (SELECT run FROM cost_versions)
    GROUP BY minute, workload, provider, model, arm, stage, currency
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
