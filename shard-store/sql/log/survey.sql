-- One statement is one snapshot (R8, H9).
SELECT 0, shard, epoch, seq, state FROM shard
UNION ALL SELECT 1, shard, epoch, first_seq, 0 FROM epoch_history
UNION ALL SELECT 2, 0, 0, nonce, at FROM heartbeat WHERE writer = ?
ORDER BY 1, 2, 3
