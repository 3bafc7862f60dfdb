-- The minutes to reprice in slices of about {limit} calls, so that no batch is large.
SELECT
    toUnixTimestamp64Milli(toDateTime64(min(minute), 3)) AS begin_ms,
    toUnixTimestamp64Milli(toDateTime64(max(minute), 3)) + 60000 AS end_ms
FROM
(
    SELECT minute, intDiv(sum(sum(r.calls)) OVER (ORDER BY minute), {limit:UInt32}) AS slice
    FROM calls_per_minute AS r
    WHERE toDate(minute) >= {since:Date} AND toDate(minute) < {until:Date}
        AND ({provider:String} = '' OR provider = {provider:String})
    GROUP BY minute
)
GROUP BY slice
ORDER BY begin_ms
