UPDATE shard SET state = ? WHERE shard = ? AND state = ?
