UPDATE shard SET state = 2, seq = seq + 1 WHERE shard = 1
