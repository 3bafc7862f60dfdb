-- The drift alarms of a workload that has moved as a whole: a JSON list of gate, limit, log e, threshold and since when.
ALTER TABLE verdicts ADD COLUMN drift String DEFAULT '[]' CODEC(ZSTD(1)) AFTER gates;
