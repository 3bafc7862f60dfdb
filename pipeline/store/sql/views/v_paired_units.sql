-- For paired tests: one row per conversation, candidate and measure, the means over its pairs. To be bet on once each.
--   measure = 'score':   difference = quality of the candidate − quality of the baseline, in [−1, 1]
--   measure = 'failure': difference = failed at the candidate − failed at the baseline, in [−1, 1]
--   any comparison:      difference = disagreement of candidate and baseline, in [0, 1]; noise = that of the
--                        baseline with itself in the same conversation, NULL where it was not mirrored to it
-- Order by assigned_at, the start of the conversation's first pair; last_at is that of the last one so far.
CREATE OR REPLACE VIEW v_paired_units AS
SELECT
    workload, provider, conversation_id, measure, pairs, difference, noise_pairs, noise,
    difference - noise AS excess, assigned_at, last_at
FROM
(
    SELECT
        workload, provider, conversation_id, measure, count() AS pairs, avg(value) AS difference,
        min(at) AS assigned_at, max(at) AS last_at
    FROM
    (
        SELECT workload, provider, conversation_id, started_at AS at, side.1 AS measure, side.2 AS value
        FROM pairs
        ARRAY JOIN arrayConcat
        (
            [('score', toFloat64(quality) - toFloat64(twin_quality)), ('failure', toFloat64(failed) - toFloat64(twin_failed))],
            arrayMap(name -> (toString(name), toNullable(1 - toFloat64(agreement[name]))), mapKeys(agreement))
        ) AS side
        WHERE mirrored_to = 'candidate'
    )
    WHERE isNotNull(value)
    GROUP BY workload, provider, conversation_id, measure
) AS candidates
LEFT JOIN
(
    SELECT workload, conversation_id, check AS measure, count() AS noise_pairs, toNullable(1 - avg(value)) AS noise
    FROM v_pairs WHERE mirrored_to = 'baseline'
    GROUP BY workload, conversation_id, check
) AS baseline USING (workload, conversation_id, measure)
