-- Sums inside the tables' own parts (projections): always what the rows say, for they are written and merged with them.
-- What is stored already gets its sums in the background, and is read whole until then.
-- Calls of ten minutes by what a bill and a saving need; the account's count of rows is read from here too.
ALTER TABLE calls MODIFY SETTING lightweight_mutation_projection_mode = 'rebuild';

ALTER TABLE calls ADD PROJECTION IF NOT EXISTS usage_by_ten_minutes
(
    SELECT
        cluster, toStartOfTenMinutes(started_at), workload, provider, model, arm, flat_rate_plan, if(isNull(cost), '', currency),
        count(), sum(ifNull(input_tokens, 0) + ifNull(output_tokens, 0)), sum(cost)
    GROUP BY
        cluster, toStartOfTenMinutes(started_at), workload, provider, model, arm, flat_rate_plan, if(isNull(cost), '', currency)
);

ALTER TABLE calls MATERIALIZE PROJECTION usage_by_ten_minutes SETTINGS mutations_sync = 0;

-- Months of batches, one or more a second: where each partition stands, and which batches are the newest.
ALTER TABLE ledger ADD PROJECTION IF NOT EXISTS standing
(
    SELECT
        cluster, topic, kafka_partition, count(), min(offset_from), max(offset_to), sum(offset_to - offset_from + 1),
        sum(stored), sum(rejected), sum(duplicates), sum(ignored), sum(uncounted), max(inserted_at)
    GROUP BY cluster, topic, kafka_partition
);

ALTER TABLE ledger MATERIALIZE PROJECTION standing SETTINGS mutations_sync = 0;

ALTER TABLE ledger ADD INDEX IF NOT EXISTS by_time inserted_at TYPE minmax GRANULARITY 1;

ALTER TABLE ledger MATERIALIZE INDEX by_time SETTINGS mutations_sync = 0;
