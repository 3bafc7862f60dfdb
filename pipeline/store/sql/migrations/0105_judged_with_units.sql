-- Which conversations have been judged is told by the units' own parts: one write instead of two, and a batch that is
-- there is known to be judged even if the store dies at once. What is stored already gets its projection in the
-- background, and is read whole until then.
ALTER TABLE units MODIFY SETTING lightweight_mutation_projection_mode = 'rebuild';

ALTER TABLE units ADD PROJECTION IF NOT EXISTS by_conversation
(
    SELECT cityHash64(toString(workload), conversation_id) AS conversation ORDER BY conversation
);

ALTER TABLE units MATERIALIZE PROJECTION by_conversation SETTINGS mutations_sync = 0;

DROP VIEW judged_mv;

DROP TABLE judged;

CREATE VIEW judged AS SELECT cityHash64(toString(workload), conversation_id) AS conversation FROM units;

ALTER TABLE paired_units MODIFY SETTING lightweight_mutation_projection_mode = 'rebuild';

ALTER TABLE paired_units ADD PROJECTION IF NOT EXISTS by_conversation
(
    SELECT cityHash64(toString(workload), conversation_id) AS conversation ORDER BY conversation
);

ALTER TABLE paired_units MATERIALIZE PROJECTION by_conversation SETTINGS mutations_sync = 0;

DROP VIEW judged_pairs_mv;

DROP TABLE judged_pairs;

CREATE VIEW judged_pairs AS SELECT cityHash64(toString(workload), conversation_id) AS conversation FROM paired_units;

-- How far the judge had read is told by the batch itself: see 0090.
DROP VIEW units_positions_mv;

DROP VIEW paired_units_positions_mv;
