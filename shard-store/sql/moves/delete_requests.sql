DELETE t FROM JSON_TABLE(?, '$[*]' COLUMNS (
  shard SMALLINT UNSIGNED PATH '$[0]', seq BIGINT UNSIGNED PATH '$[1]')) AS k
STRAIGHT_JOIN request AS t FORCE INDEX (PRIMARY) ON t.shard = k.shard AND t.seq = k.seq
