-- Users' ratings (0 bad, 1 good), each once, with the call they are about; of a call that is not stored
-- workload, provider and model are empty.
CREATE OR REPLACE VIEW v_feedback AS
SELECT
    feedback.at AS at, event_id, feedback.call_id AS call_id, toFloat64(rating) AS rating, comment, source,
    workload, provider, model, arm, conversation_id
FROM (SELECT * FROM feedback FINAL) AS feedback
ANY LEFT JOIN
(
    SELECT call_id, workload, provider, model, arm, conversation_id
    FROM calls WHERE call_id IN (SELECT call_id FROM feedback)
) AS calls ON calls.call_id = feedback.call_id
