-- Everything about one call. A failure of which its record does not tell whether the user saw it was
-- hidden from them if another attempt at the same request answered (a trace's id, which OTLP has
-- for a request's, is shared by requests).
WITH
    (SELECT conversation_id FROM v_calls WHERE call_id = {call:String} LIMIT 1) AS conversation,
    (SELECT groupUniqArray(request_id) FROM v_calls WHERE conversation != '' AND conversation_id = conversation AND failure = '' AND arm != 'shadow') AS answered
SELECT * REPLACE (if(final IS NULL AND source != 'otlp' AND request_id != '' AND has(answered, request_id), false, final) AS final)
FROM v_calls
WHERE call_id = {call:String}
LIMIT 1
