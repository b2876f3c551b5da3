-- R12: as objects.sql.
SELECT k.n, s.epoch, s.seq, s.state, t.count, t.version
FROM JSON_TABLE(?, '$[*]' COLUMNS (
  n INT UNSIGNED PATH '$[0]', shard SMALLINT UNSIGNED PATH '$[1]',
  id1 BIGINT UNSIGNED PATH '$[2]', atype SMALLINT UNSIGNED PATH '$[3]')) AS k
STRAIGHT_JOIN shard AS s FORCE INDEX (PRIMARY) ON s.shard = k.shard
LEFT JOIN assoc_count AS t FORCE INDEX (PRIMARY) ON t.id1 = k.id1 AND t.atype = k.atype
