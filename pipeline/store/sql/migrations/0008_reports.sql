-- The data behind each report that was made, whole, so that it can be made again with the same
-- numbers. The snapshot's name contains a digest of the data.
CREATE TABLE reports
(
    snapshot String,
    taken_at DateTime64(3, 'UTC'),
    data String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
ORDER BY (taken_at, snapshot);
