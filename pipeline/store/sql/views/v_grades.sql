-- What judge models said of shadow answers, how often the order of showing changed it, and what it cost.
-- worse counts an answer found worse in one order only as a half. Pairs without a verdict in both orders are unclear.
CREATE OR REPLACE VIEW v_grades AS
SELECT
    workload, provider, mirrored_to, judge_model, judge_currency AS currency, count() AS pairs,
    countIf(NOT clear) AS unclear,
    countIf(clear AND judged_first != judged_second) AS order_changed_it,
    sumIf((judged_first = 'better') + (judged_second = 'better'), clear) / 2 AS better,
    sumIf((judged_first = 'worse') + (judged_second = 'worse'), clear) / 2 AS worse,
    sum(judge_cost) AS cost
FROM (SELECT *, judged_first != '' AND judged_second != '' AS clear FROM pairs WHERE judge_model != '')
GROUP BY workload, provider, mirrored_to, judge_model, judge_currency
