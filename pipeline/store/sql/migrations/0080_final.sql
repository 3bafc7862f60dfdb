-- Whether a failure is what the user saw is unknown where its record cannot tell that something was
-- tried after it. Until now such failures were stored as final, whatever came after them.
ALTER TABLE calls MODIFY COLUMN final Nullable(Bool);
ALTER TABLE calls UPDATE final = NULL WHERE failure != '';
