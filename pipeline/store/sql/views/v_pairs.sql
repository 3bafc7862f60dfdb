-- One row per shadow call and comparison with the user's call (shadow_of): value 1 is full agreement.
-- mirrored_to: candidate, or baseline for the pairs that show how much the baseline differs from itself.
-- check = 'judge' is the judge model's word, where it gave one in both orders: 1 for an answer that is not
-- worse, 0 for one that is, the mean of both orders.
CREATE OR REPLACE VIEW v_pairs AS
SELECT
    started_at AS at, workload, provider, model, mirrored_to, conversation_id, call_id, shadow_of,
    side.1 AS check, side.2 AS value, side.3 AS evidence
FROM pairs
ARRAY JOIN arrayConcat
(
    arrayMap(name -> (toString(name), toFloat64(agreement[name]), pairs.evidence[name]), mapKeys(agreement)),
    if(judged_first != '' AND judged_second != '',
        [('judge', 1 - ((judged_first = 'worse') + (judged_second = 'worse')) / 2, concat(judged_first, ' shown first, ', judged_second, ' shown second'))],
        [])
) AS side
