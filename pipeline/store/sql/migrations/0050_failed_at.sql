-- When a conversation's first failure came, by Kafka's clock: failures are judged in that order, before their
-- conversations are closed. NULL: no failure, or stored before this was recorded.
ALTER TABLE units ADD COLUMN failed_at Nullable(DateTime64(3, 'UTC')) CODEC(Delta, ZSTD(1)) AFTER failed;
