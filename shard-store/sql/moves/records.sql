-- The shard's row (kind 0) and its moves, from one snapshot.
SELECT 0 AS kind, shard, NULL AS move_id, NULL AS role, epoch, NULL AS peer, state AS outcome, NULL AS copied_table, NULL AS has_last,
  NULL AS last_1, NULL AS last_2, NULL AS last_3, NULL AS applied_epoch, seq AS applied, NULL AS log_position, next_id AS step FROM shard WHERE shard = ?
UNION ALL
SELECT 1, shard, move_id, role, epoch, peer, outcome, copied_table, has_last, last_1, last_2, last_3, applied_epoch, applied, log_position, step
FROM shard_move WHERE shard = ?
