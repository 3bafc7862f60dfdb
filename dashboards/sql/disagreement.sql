-- How much candidates' answers to mirrored calls differ from the baseline's, and the baseline's from its own.
SELECT provider, check, pairs, disagreement, noise_pairs, noise, excess
FROM v_disagreement
WHERE workload = {workload:String}
ORDER BY check, provider
