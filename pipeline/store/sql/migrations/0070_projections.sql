-- Sums inside the tables' own parts (projections), and indexes, for questions over months. Such sums are always what
-- the rows say, for they are written and merged with them; what is stored already gets its own in the background, and
-- is read whole until then.

-- Calls of ten minutes by what a bill and a saving need (an unknown cost is NULL, and not >= 0); the account's count
-- of rows is read from here too.
ALTER TABLE calls MODIFY SETTING lightweight_mutation_projection_mode = 'rebuild';

ALTER TABLE calls ADD PROJECTION IF NOT EXISTS usage_by_ten_minutes
(
    SELECT
        cluster, toStartOfTenMinutes(started_at), workload, provider, model, arm, flat_rate_plan, if(cost >= 0, currency, ''),
        count(), sum(ifNull(input_tokens, 0) + ifNull(output_tokens, 0)), sum(cost)
    GROUP BY
        cluster, toStartOfTenMinutes(started_at), workload, provider, model, arm, flat_rate_plan, if(cost >= 0, currency, '')
);

ALTER TABLE calls MATERIALIZE PROJECTION usage_by_ten_minutes SETTINGS mutations_sync = 0;

-- Calls of an hour by language and by the tools they call, with the sums that v_minutes has of them.
ALTER TABLE calls ADD PROJECTION IF NOT EXISTS answers_by_hour
(
    SELECT
        toStartOfHour(started_at), workload, provider, arm, language, tools_called,
        count(), countIf(failure NOT IN ('', 'cancelled')), countIf(failure = 'cancelled'), count(quality), sum(quality),
        sumMapIf(map(toUInt16(ceil(log(greatest(assumeNotNull(time_to_first_token_ms), 1)) / log(1.02))), toUInt64(1)), isNotNull(time_to_first_token_ms)),
        sumMapIf(map(toUInt16(ceil(log(greatest(assumeNotNull(duration_ms), 1)) / log(1.02))), toUInt64(1)), isNotNull(duration_ms))
    GROUP BY toStartOfHour(started_at), workload, provider, arm, language, tools_called
);

ALTER TABLE calls MATERIALIZE PROJECTION answers_by_hour SETTINGS mutations_sync = 0;

-- A call is looked for by any of its ids, and by time whatever its workload.
ALTER TABLE calls
    ADD INDEX IF NOT EXISTS by_request_id request_id TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS by_start started_at TYPE minmax GRANULARITY 1;

ALTER TABLE calls MATERIALIZE INDEX by_request_id, MATERIALIZE INDEX by_start SETTINGS mutations_sync = 0;

-- How far mirrored answers agree: what v_disagreement divides.
ALTER TABLE pairs MODIFY SETTING lightweight_mutation_projection_mode = 'rebuild';

ALTER TABLE pairs ADD PROJECTION IF NOT EXISTS agreement_so_far
(
    SELECT
        workload, provider, mirrored_to,
        sumMap(mapFromArrays(mapKeys(agreement), arrayWithConstant(length(mapKeys(agreement)), toUInt64(1)))),
        sumMap(agreement),
        countIf(judged_first != '' AND judged_second != ''),
        sumIf((judged_first = 'worse') + (judged_second = 'worse'), judged_first != '' AND judged_second != '')
    GROUP BY workload, provider, mirrored_to
);

ALTER TABLE pairs MATERIALIZE PROJECTION agreement_so_far SETTINGS mutations_sync = 0;

-- Months of batches, one or more a second: where each partition stands, and which batches are the newest.
ALTER TABLE ledger ADD PROJECTION IF NOT EXISTS standing
(
    SELECT
        cluster, topic, kafka_partition, count(), min(offset_from), max(offset_to), sum(offset_to - offset_from + 1),
        sum(stored), sum(rejected), sum(duplicates), sum(ignored), sum(uncounted), min(inserted_at), max(inserted_at)
    GROUP BY cluster, topic, kafka_partition
);

ALTER TABLE ledger MATERIALIZE PROJECTION standing SETTINGS mutations_sync = 0;

ALTER TABLE ledger ADD INDEX IF NOT EXISTS by_time inserted_at TYPE minmax GRANULARITY 1;

ALTER TABLE ledger MATERIALIZE INDEX by_time SETTINGS mutations_sync = 0;
