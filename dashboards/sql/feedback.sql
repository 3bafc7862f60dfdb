-- What users said of a call.
SELECT at, rating, comment, source
FROM v_feedback
WHERE call_id = {call:String}
ORDER BY at
LIMIT 50
