-- Plain insert: a row that came into being meanwhile must not be overwritten (error 1062; what to do is decided anew).
INSERT INTO shard (shard, epoch, seq, state, next_id) VALUES (?, ?, ?, ?, ?)
