SELECT nonce FROM request WHERE shard = ? AND seq = ?
