SELECT shard, epoch, seq, state FROM shard ORDER BY shard FOR UPDATE
