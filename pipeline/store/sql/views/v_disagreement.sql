-- Mean disagreement (1 − agreement) of candidate and baseline per workload, provider and comparison; and
-- of the baseline with itself (noise, NULL as long as there are no such pairs). excess is the difference.
CREATE OR REPLACE VIEW v_disagreement AS
SELECT
    workload, provider, check, pairs, disagreement, ifNull(noise_pairs, 0) AS noise_pairs, noise,
    disagreement - noise AS excess
FROM
(
    SELECT workload, provider, check, count() AS pairs, 1 - avg(value) AS disagreement
    FROM v_pairs WHERE mirrored_to = 'candidate'
    GROUP BY workload, provider, check
) AS candidates
LEFT JOIN
(
    SELECT workload, check, toNullable(count()) AS noise_pairs, toNullable(1 - avg(value)) AS noise
    FROM v_pairs WHERE mirrored_to = 'baseline'
    GROUP BY workload, check
) AS baseline USING (workload, check)
