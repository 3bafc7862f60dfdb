-- What each call was about and how it went, narrow enough to be read by the million: the language of the user's
-- message, the tools the answer calls. Nothing that a cost version changes is in it.
CREATE OR REPLACE VIEW v_answers AS
SELECT started_at, workload, provider, arm, language, tools_called, failure, quality, time_to_first_token_ms, duration_ms
FROM calls
