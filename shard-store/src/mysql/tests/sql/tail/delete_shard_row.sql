DELETE FROM shard WHERE shard = 1
