-- Live calls of one cluster (not the history): how many, from whom, and how long after a call's end
-- its row was there.
SELECT
    count() AS calls,
    arraySort(groupUniqArray(provider)) AS providers,
    quantileExact(0.99)(
        toUnixTimestamp64Milli(inserted_at) - toUnixTimestamp64Milli(started_at) - ifNull(duration_ms, 0)
    ) AS freshness_p99_ms
FROM calls
WHERE cluster = {cluster:String} AND started_at >= fromUnixTimestamp64Milli({started:Int64})
