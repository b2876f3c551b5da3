DELETE FROM request WHERE shard = ? ORDER BY seq LIMIT ?
