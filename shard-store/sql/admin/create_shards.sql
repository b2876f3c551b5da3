INSERT IGNORE INTO shard (shard, epoch, seq, state, next_id) VALUES {(?, ?, ?, ?, ?)}
