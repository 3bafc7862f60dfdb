-- What became of the records of the last minute; mostly: most were rejected.
SELECT records, rejected, mostly, reason FROM v_rejecting
