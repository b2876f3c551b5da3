-- For each shard that is in this epoch and has not been changed: its first epoch starts with its first change.
INSERT IGNORE INTO epoch_history (shard, epoch, first_seq) VALUES {(?, ?, ?)}
