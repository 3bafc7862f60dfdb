-- The calls of one conversation in order, shadow calls of it included.
SELECT started_at, call_id, provider, model, arm, failure, duration_ms, output_tokens, quality
FROM v_calls
WHERE conversation_id = {conversation:String}
ORDER BY started_at
LIMIT 200
