DELETE t FROM JSON_TABLE(?, '$[*]' COLUMNS (
  shard SMALLINT UNSIGNED PATH '$[0]', epoch INT UNSIGNED PATH '$[1]')) AS k
STRAIGHT_JOIN epoch_history AS t FORCE INDEX (PRIMARY) ON t.shard = k.shard AND t.epoch = k.epoch
