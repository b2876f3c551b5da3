-- The old epoch in the condition makes it happen once (R24).
UPDATE shard SET epoch = ?, state = ?, next_id = next_id + ? WHERE shard = ? AND epoch = ?
