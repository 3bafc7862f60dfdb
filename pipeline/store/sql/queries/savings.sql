-- Priced calls and their cost in the report's currency, per day, workload and arm; calls whose
-- cost is unknown are counted apart. For the interval of a mean per call: the number of
-- ten-minute clusters with priced calls, and over them the sums of squares and products of the
-- cost (y) and the calls (n).
SELECT
    toDate(at) AS day, workload, arm,
    toUInt64(sum(c.calls)) AS calls, sum(paid) AS cost, sum(called) AS priced,
    countIf(called > 0) AS clusters,
    sum(toFloat64(paid) * toFloat64(paid)) AS yy,
    sum(toFloat64(paid) * toFloat64(called)) AS yn,
    sum(toFloat64(called) * toFloat64(called)) AS nn
FROM
(
    SELECT
        at, workload, arm, sum(n.calls) AS calls,
        ifNull(sum(amount), 0) AS paid, sumIf(n.calls, isNotNull(amount)) AS called
    FROM
    (
        SELECT
            native.*,
            if(currency = {currency:String}, cost, toDecimal128OrNull(toString(cost * fx.rate), 12)) AS amount
        FROM
        (
            SELECT at, workload, arm, currency, sum(u.calls) AS calls, sum(u.cost) AS cost, toDate(at) AS day, {currency:String} AS wanted
            FROM v_usage AS u
            WHERE arm IN ('baseline', 'candidate')
            GROUP BY at, workload, arm, currency
        ) AS native
        ASOF LEFT JOIN (SELECT from_currency, to_currency, valid_from, toNullable(rate) AS rate FROM v_fx) AS fx
            ON native.currency = fx.from_currency AND native.wanted = fx.to_currency AND native.day >= fx.valid_from
    ) AS n
    GROUP BY at, workload, arm
) AS c
GROUP BY day, workload, arm
ORDER BY day, workload, arm
