-- Beginnings of evidence: which gates (JSON) were set when and by whom; after_data: when data had come already.
CREATE OR REPLACE VIEW v_epochs AS
SELECT workload, candidate, epoch, starts_at, recorded_at, set_by, after_data, plan_hash, epoch_hash, gates
FROM epochs FINAL
ORDER BY workload, candidate, epoch
