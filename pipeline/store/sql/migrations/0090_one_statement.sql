-- How far the judge had read when it wrote a batch, in the batch's first row: one INSERT instead of two. Workers of
-- earlier versions look for it in judge_positions.
ALTER TABLE units ADD COLUMN positions String CODEC(ZSTD(1));

ALTER TABLE paired_units ADD COLUMN positions String CODEC(ZSTD(1));

CREATE MATERIALIZED VIEW units_positions_mv TO judge_positions AS
SELECT batch, writer, 'units' AS kept, positions FROM units WHERE positions != '';

CREATE MATERIALIZED VIEW paired_units_positions_mv TO judge_positions AS
SELECT batch, writer, 'paired_units' AS kept, positions FROM paired_units WHERE positions != '';
