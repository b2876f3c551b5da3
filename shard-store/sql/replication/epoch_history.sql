INSERT INTO epoch_history (shard, epoch, first_seq) VALUES (?, ?, ?)
