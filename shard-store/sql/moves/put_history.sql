INSERT INTO epoch_history (shard, epoch, first_seq) VALUES {(?, ?, ?)}
ON DUPLICATE KEY UPDATE first_seq = VALUES(first_seq)
