-- Priced calls and their cost in the report's currency, per day, workload and arm; calls whose
-- cost is unknown are counted apart. For the interval of a mean per call: the number of
-- ten-minute clusters with priced calls, and over them the sums of squares and products of the
-- cost (y) and the calls (n).
SELECT
    day, workload, arm, calls, costs.cost AS cost, costs.priced AS priced,
    costs.clusters AS clusters, costs.yy AS yy, costs.yn AS yn, costs.nn AS nn
FROM
(
    SELECT toDate(minute) AS day, workload, arm, sum(m.calls) AS calls
    FROM v_minutes AS m
    WHERE arm IN ('baseline', 'candidate')
    GROUP BY day, workload, arm
) AS counted
LEFT JOIN
(
    SELECT
        toDate(cluster) AS day, workload, arm, sum(paid) AS cost, sum(called) AS priced,
        countIf(called > 0) AS clusters,
        sum(toFloat64(paid) * toFloat64(paid)) AS yy,
        sum(toFloat64(paid) * toFloat64(called)) AS yn,
        sum(toFloat64(called) * toFloat64(called)) AS nn
    FROM
    (
        SELECT
            toStartOfInterval(minute, toIntervalMinute(10)) AS cluster, workload, arm,
            sum(amount) AS paid, sum(calls) AS called
        FROM (SELECT *, if({currency:String} = 'CNY', cost_cny, cost_usd) AS amount FROM v_costs)
        WHERE isNotNull(amount) AND arm IN ('baseline', 'candidate')
        GROUP BY cluster, workload, arm
    )
    GROUP BY day, workload, arm
) AS costs USING (day, workload, arm)
ORDER BY day, workload, arm
