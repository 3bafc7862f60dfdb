-- Snapshots of the reports that were made, with their data as JSON (see pipeline/report/snapshot.py).
CREATE OR REPLACE VIEW v_reports AS
SELECT snapshot, taken_at, data
FROM reports FINAL
