DELETE FROM request WHERE shard = ? AND seq < ?
