-- For paired tests: one row per conversation and candidate (provider), the means over its pairs. To be bet on once.
--   failed_…, score_…:  shares of failed calls and mean quality, over the pairs where both are known
--   disagreement:       1 − the mean of a pair's comparisons, of candidate and baseline; noise is that of the baseline
--                       with itself. Both over the same calls, those that were mirrored to the baseline as well; where
--                       none was, noise is NULL and disagreement is over all pairs.
-- Order by assigned_at, the start of the conversation's first pair; last_at is that of the last one so far.
CREATE OR REPLACE VIEW v_paired_units AS
SELECT
    workload, provider, conversation_id, min(started_at) AS assigned_at, max(started_at) AS last_at,
    count() AS pairs, count(floor) AS noise_pairs,
    avg(if(isNull(failed), NULL, toFloat64(twin_failed))) AS failed_baseline,
    avg(if(isNull(twin_failed), NULL, toFloat64(failed))) AS failed_candidate,
    avg(if(isNull(quality), NULL, toFloat64(twin_quality))) AS score_baseline,
    avg(if(isNull(twin_quality), NULL, toFloat64(quality))) AS score_candidate,
    if(noise_pairs > 0, avg(if(isNull(floor), NULL, apart)), avg(apart)) AS disagreement,
    avg(if(isNull(apart), NULL, floor)) AS noise
FROM
(
    SELECT *, if(empty(agreement), NULL, 1 - arrayAvg(arrayMap(toFloat64, mapValues(agreement)))) AS apart
    FROM pairs WHERE mirrored_to = 'candidate'
) AS candidates
LEFT JOIN
(
    SELECT workload, shadow_of, if(empty(agreement), NULL, 1 - arrayAvg(arrayMap(toFloat64, mapValues(agreement)))) AS floor
    FROM pairs WHERE mirrored_to = 'baseline'
) AS baseline USING (workload, shadow_of)
GROUP BY workload, provider, conversation_id
