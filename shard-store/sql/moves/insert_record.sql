INSERT INTO shard_move (shard, move_id, role, epoch, peer, outcome, copied_table, has_last, last_1, last_2, last_3, applied_epoch, applied, log_position, step)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
