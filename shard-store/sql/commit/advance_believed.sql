-- R2 without a round trip, for a transaction of one shard: locks and advances its row if it is the one that the rest was made for;
-- whether it was is asserted behind it. A row that another transaction holds is waited for, with nothing else held.
UPDATE shard SET seq = ?, next_id = ?
WHERE shard = ? AND epoch = ? AND seq = ? AND state = ? AND next_id = ? AND @@GLOBAL.read_only = 0
