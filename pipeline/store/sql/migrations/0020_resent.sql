-- Calls a producer sent again without knowing whether the first time arrived: up to that many may be
-- in Kafka twice.
ALTER TABLE producers ADD COLUMN resent UInt64 DEFAULT 0;
