-- Mean disagreement (1 − agreement) of candidate and baseline per workload, provider, model and comparison; and
-- of the baseline with itself (noise, NULL as long as there are no such pairs). excess is the difference.
-- check = 'judge' is the judge model's word as in v_pairs: an answer found worse in one order is half worse.
CREATE OR REPLACE VIEW v_disagreement AS
WITH sums AS
(
    SELECT workload, provider, model, mirrored_to, side.1 AS check, side.2 AS pairs, side.3 AS disagreed
    FROM
    (
        SELECT
            workload, provider, model, mirrored_to,
            sumMap(mapFromArrays(mapKeys(agreement), arrayWithConstant(length(mapKeys(agreement)), toUInt64(1)))) AS compared,
            sumMap(agreement) AS agreed,
            countIf(judged_first != '' AND judged_second != '') AS judged,
            sumIf((judged_first = 'worse') + (judged_second = 'worse'), judged_first != '' AND judged_second != '') AS worse
        FROM pairs
        GROUP BY workload, provider, model, mirrored_to
    )
    ARRAY JOIN arrayConcat
    (
        arrayMap(name -> (toString(name), compared[name], compared[name] - toFloat64(agreed[name])), mapKeys(compared)),
        if(judged > 0, [('judge', judged, worse / 2)], [])
    ) AS side
)
SELECT
    workload, provider, model, check, pairs, disagreement, ifNull(noise_pairs, 0) AS noise_pairs, noise,
    disagreement - noise AS excess
FROM
(
    SELECT workload, provider, model, check, s.pairs AS pairs, disagreed / s.pairs AS disagreement
    FROM sums AS s WHERE mirrored_to = 'candidate'
) AS candidates
LEFT JOIN
(
    SELECT workload, check, toNullable(sum(s.pairs)) AS noise_pairs, toNullable(sum(disagreed) / sum(s.pairs)) AS noise
    FROM sums AS s WHERE mirrored_to = 'baseline'
    GROUP BY workload, check
) AS baseline USING (workload, check)
