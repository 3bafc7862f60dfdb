-- Records of a batch that came from senders who do not say how many they send, such as gateways that
-- write to the topic themselves: what is there of them is all that is known to be produced.
ALTER TABLE ledger ADD COLUMN uncounted UInt64 DEFAULT 0 AFTER ignored;
