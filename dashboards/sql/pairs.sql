-- What mirroring found of a call: as the shadow call, or as the user's call that was mirrored.
SELECT call_id, shadow_of, provider, model, mirrored_to, check, value, evidence
FROM v_pairs
WHERE call_id = {call:String} OR shadow_of = {call:String}
ORDER BY call_id, check
LIMIT 200
