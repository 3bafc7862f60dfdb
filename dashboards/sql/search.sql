-- The newest calls that fit; an empty parameter fits everything, failure '*' is any failure, check is
-- a quality check that was not fully passed. The sums per hour say in which hours there is any such call.
SELECT
    started_at, call_id, conversation_id, workload, provider, model, arm, failure, http_status,
    time_to_first_token_ms, duration_ms, input_tokens, output_tokens, cost, currency, quality
FROM v_calls
WHERE started_at >= now() - {seconds:UInt32}
    AND ({workload:String} = '' OR workload = {workload:String})
    AND ({provider:String} = '' OR provider = {provider:String})
    AND ({model:String} = '' OR model = {model:String})
    AND ({failure:String} = '' OR failure = {failure:String} OR ({failure:String} = '*' AND failure != ''))
    AND ({finding:String} = '' OR has(findings, {finding:String}))
    AND ({check:String} = '' OR (mapContains(checks, {check:String}) AND checks[{check:String}] < 1))
    AND ({text:String} = '' OR call_id = {text:String} OR conversation_id = {text:String} OR request_id = {text:String})
    AND (
        concat({failure:String}, {finding:String}, {check:String}) = ''
        OR (workload, provider, toStartOfHour(started_at)) IN
        (
            SELECT workload, provider, minute
            FROM v_hours
            WHERE minute >= toStartOfHour(now() - {seconds:UInt32})
                AND ({failure:String} IN ('', '*') OR mapContains(failures, {failure:String}))
                AND ({finding:String} = '' OR mapContains(findings, {finding:String}))
                AND ({check:String} = '' OR check_sums[{check:String}] < check_calls[{check:String}])
        )
    )
ORDER BY started_at DESC
LIMIT {limit:UInt32}
