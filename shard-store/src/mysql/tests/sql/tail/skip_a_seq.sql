UPDATE shard SET seq = seq + 2 WHERE shard = 0
