UPDATE shard_move SET role = ?, epoch = ?, peer = ?, outcome = ?, copied_table = ?, has_last = ?, last_1 = ?, last_2 = ?, last_3 = ?,
  applied_epoch = ?, applied = ?, log_position = ?, step = ? WHERE shard = ? AND move_id = ?
