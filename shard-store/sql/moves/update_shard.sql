-- The row is locked; the count of rows changed is asserted (R2).
UPDATE shard SET epoch = ?, seq = ?, state = ?, next_id = ? WHERE shard = ? AND epoch = ? AND seq = ? AND state = ?
