-- What the traffic is told apart by besides model, stage and time: the language of the user's message and the
-- tools the answer calls. Calls stored before have neither: unknown.
ALTER TABLE calls ADD COLUMN language LowCardinality(String) DEFAULT '' AFTER doubts;
ALTER TABLE calls ADD COLUMN tools_called Array(LowCardinality(String)) DEFAULT [] AFTER language;
