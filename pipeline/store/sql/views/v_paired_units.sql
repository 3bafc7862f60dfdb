-- Conversations' shadow pairs as they were judged, one row per conversation and candidate: the means over
-- its pairs, to be bet on once. Late ones are no evidence.
--   failed_…, score_…:  shares of failed calls and mean quality, over the pairs where both are known
--   disagreement:       1 − the mean of a pair's comparisons, of candidate and baseline; noise is that of the baseline
--                       with itself. Both over the same calls, those that were mirrored to the baseline as well; where
--                       none was, noise is NULL and disagreement is over all pairs.
-- Order by assigned_at, the start of the first call that was mirrored.
CREATE OR REPLACE VIEW v_paired_units AS
SELECT
    workload, provider, model, conversation_id, assigned_at, closed_at, pairs, failed_baseline, failed_candidate,
    score_baseline, score_candidate, disagreement, noise, late
FROM paired_units
