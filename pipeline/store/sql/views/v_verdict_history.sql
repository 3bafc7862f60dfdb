-- Every change of a verdict, newest last.
CREATE OR REPLACE VIEW v_verdict_history AS
SELECT at, workload, candidate, provider, epoch, verdict, reason_en, reason_zh, stage, share
FROM verdicts
WHERE changed
ORDER BY at
