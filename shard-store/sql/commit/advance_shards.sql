-- Only rows that this transaction holds: so each is updated and counts 2, and the sum is asserted (R2).
INSERT INTO shard (shard, epoch, seq, state, next_id) VALUES {(?, ?, ?, ?, ?)}
ON DUPLICATE KEY UPDATE seq = VALUES(seq), next_id = VALUES(next_id)
