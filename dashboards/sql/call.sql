-- Everything about one call.
SELECT * FROM v_calls WHERE call_id = {call:String} LIMIT 1
