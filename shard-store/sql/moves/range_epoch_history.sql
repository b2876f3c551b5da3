DELETE FROM epoch_history WHERE shard = ? ORDER BY epoch LIMIT ?
