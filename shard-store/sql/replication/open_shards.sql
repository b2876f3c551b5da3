-- Rows: shard, old epoch, new epoch, new seq, new state, ids to skip. The old epoch makes it happen once (R24); the count of rows
-- changed is asserted.
UPDATE JSON_TABLE(?, '$[*]' COLUMNS (
  shard SMALLINT UNSIGNED PATH '$[0]', old_epoch INT UNSIGNED PATH '$[1]', epoch INT UNSIGNED PATH '$[2]',
  seq BIGINT UNSIGNED PATH '$[3]', state TINYINT UNSIGNED PATH '$[4]', skip BIGINT UNSIGNED PATH '$[5]')) AS k
STRAIGHT_JOIN shard AS s ON s.shard = k.shard AND s.epoch = k.old_epoch
SET s.epoch = k.epoch, s.seq = k.seq, s.state = k.state, s.next_id = s.next_id + k.skip
