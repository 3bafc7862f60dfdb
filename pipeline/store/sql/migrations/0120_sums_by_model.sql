-- Two candidates of one provider are told apart by their models: the sums of answers and of pairs hold it too. What is
-- stored already gets its new sums in the background, and is read whole until then.
ALTER TABLE calls ADD PROJECTION IF NOT EXISTS answers_by_hour_and_model
(
    SELECT
        toStartOfHour(started_at), workload, provider, model, arm, language, tools_called,
        count(), countIf(failure NOT IN ('', 'cancelled')), countIf(failure = 'cancelled'), count(quality), sum(quality),
        sumMapIf(map(toUInt16(ceil(log(greatest(assumeNotNull(time_to_first_token_ms), 1)) / log(1.02))), toUInt64(1)), isNotNull(time_to_first_token_ms)),
        sumMapIf(map(toUInt16(ceil(log(greatest(assumeNotNull(duration_ms), 1)) / log(1.02))), toUInt64(1)), isNotNull(duration_ms))
    GROUP BY toStartOfHour(started_at), workload, provider, model, arm, language, tools_called
);

ALTER TABLE calls MATERIALIZE PROJECTION answers_by_hour_and_model SETTINGS mutations_sync = 0;

ALTER TABLE calls DROP PROJECTION IF EXISTS answers_by_hour SETTINGS mutations_sync = 0;

ALTER TABLE pairs ADD PROJECTION IF NOT EXISTS agreement_by_model
(
    SELECT
        workload, provider, model, mirrored_to,
        sumMap(mapFromArrays(mapKeys(agreement), arrayWithConstant(length(mapKeys(agreement)), toUInt64(1)))),
        sumMap(agreement),
        countIf(judged_first != '' AND judged_second != ''),
        sumIf((judged_first = 'worse') + (judged_second = 'worse'), judged_first != '' AND judged_second != '')
    GROUP BY workload, provider, model, mirrored_to
);

ALTER TABLE pairs MATERIALIZE PROJECTION agreement_by_model SETTINGS mutations_sync = 0;

ALTER TABLE pairs DROP PROJECTION IF EXISTS agreement_so_far SETTINGS mutations_sync = 0;
