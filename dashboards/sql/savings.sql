-- Priced calls and their cost in the report's currency, per day, workload and arm; calls whose
-- cost is unknown are counted apart.
SELECT day, workload, arm, calls, costs.cost AS cost, costs.priced AS priced
FROM
(
    SELECT toDate(minute) AS day, workload, arm, sum(m.calls) AS calls
    FROM v_minutes AS m
    WHERE arm IN ('baseline', 'candidate')
    GROUP BY day, workload, arm
) AS counted
LEFT JOIN
(
    SELECT toDate(minute) AS day, workload, arm, sum(amount) AS cost, sum(calls) AS priced
    FROM (SELECT *, if({currency:String} = 'CNY', cost_cny, cost_usd) AS amount FROM v_costs)
    WHERE isNotNull(amount) AND arm IN ('baseline', 'candidate')
    GROUP BY day, workload, arm
) AS costs USING (day, workload, arm)
ORDER BY day, workload, arm
