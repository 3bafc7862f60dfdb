-- v_answers by the hour, for long ranges: `minute` is the first of the hour. Rows add up.
CREATE OR REPLACE VIEW v_hourly_answers AS
SELECT
    toStartOfHour(started_at) AS minute, workload, provider, model, arm, language, tools_called,
    count() AS calls, countIf(failure NOT IN ('', 'cancelled')) AS failed, countIf(failure = 'cancelled') AS cancelled,
    count(quality) AS quality_calls, ifNull(sum(quality), 0) AS quality_sum,
    sumMapIf(map(toUInt16(ceil(log(greatest(assumeNotNull(time_to_first_token_ms), 1)) / log(1.02))), toUInt64(1)), isNotNull(time_to_first_token_ms)) AS first_token_buckets,
    sumMapIf(map(toUInt16(ceil(log(greatest(assumeNotNull(duration_ms), 1)) / log(1.02))), toUInt64(1)), isNotNull(duration_ms)) AS duration_buckets
FROM calls
GROUP BY minute, workload, provider, model, arm, language, tools_called
