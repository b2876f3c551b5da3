-- The columns are those of shard_rows.sql.
SELECT t.shard, t.epoch, t.seq, t.state
FROM JSON_TABLE(?, '$[*]' COLUMNS (shard SMALLINT UNSIGNED PATH '$[0]')) AS k
STRAIGHT_JOIN shard AS t FORCE INDEX (PRIMARY) ON t.shard = k.shard
