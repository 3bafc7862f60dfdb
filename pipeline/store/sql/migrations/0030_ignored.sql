-- Records that were read but tell of no call, such as the other spans of a trace: only their number is
-- kept, so that every message is accounted for.
ALTER TABLE ledger ADD COLUMN ignored UInt64 DEFAULT 0 AFTER duplicates;
