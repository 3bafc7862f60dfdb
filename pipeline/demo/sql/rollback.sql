-- When a provider was first sent back after a time.
SELECT toUnixTimestamp64Milli(v.at) AS at
FROM v_verdict_history AS v
WHERE v.provider = {provider:String} AND v.verdict = 'ROLLBACK' AND v.at >= fromUnixTimestamp64Milli({since:Int64})
ORDER BY v.at
LIMIT 1
