SELECT shard FROM shard WHERE shard = 1 FOR UPDATE
