-- R12: each row comes with its shard row, from one snapshot. A key whose shard has no row is not answered.
SELECT k.n, s.epoch, s.seq, s.state, t.otype, t.version, t.data
FROM JSON_TABLE(?, '$[*]' COLUMNS (
  n INT UNSIGNED PATH '$[0]', shard SMALLINT UNSIGNED PATH '$[1]', id BIGINT UNSIGNED PATH '$[2]')) AS k
STRAIGHT_JOIN shard AS s FORCE INDEX (PRIMARY) ON s.shard = k.shard
LEFT JOIN object AS t FORCE INDEX (PRIMARY) ON t.id = k.id
