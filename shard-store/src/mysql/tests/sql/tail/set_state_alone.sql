UPDATE shard SET state = 2 WHERE shard = 1
