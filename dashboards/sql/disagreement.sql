-- How much candidates' answers to mirrored calls differ from the baseline's, and the baseline's from its own.
SELECT
    provider, JSONExtract({apart:String}, 'Map(String, String)')[concat(provider, '/', model)] AS told, check, sum(d.pairs) AS pairs, sum(d.pairs * d.disagreement) / pairs AS disagreement,
    any(d.noise_pairs) AS noise_pairs, any(d.noise) AS noise, disagreement - noise AS excess
FROM v_disagreement AS d
WHERE workload = {workload:String}
GROUP BY provider, told, check
ORDER BY check, provider, told
