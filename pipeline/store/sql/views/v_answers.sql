-- What each call was about and how it went, one row a call, to be added up: the language of the user's message, the
-- tools the answer calls. Buckets are those of v_minutes. Nothing that a cost version changes is in it.
CREATE OR REPLACE VIEW v_answers AS
SELECT
    toStartOfMinute(started_at) AS minute, workload, provider, model, arm, language, tools_called,
    toUInt64(1) AS calls, toUInt64(failure NOT IN ('', 'cancelled')) AS failed, toUInt64(failure = 'cancelled') AS cancelled,
    toUInt64(isNotNull(quality)) AS quality_calls, toDecimal128(ifNull(quality, 0), 4) AS quality_sum,
    if(isNull(time_to_first_token_ms), map(), map(toUInt16(ceil(log(greatest(assumeNotNull(time_to_first_token_ms), 1)) / log(1.02))), toUInt64(1))) AS first_token_buckets,
    if(isNull(duration_ms), map(), map(toUInt16(ceil(log(greatest(assumeNotNull(duration_ms), 1)) / log(1.02))), toUInt64(1))) AS duration_buckets
FROM calls
