-- R12: header (shard row and count row) and edges from one snapshot. Whole lists by primary key, in no order, so that nothing is sorted
-- or put into a temporary table; of a list with more edges than are wanted the header alone (a NULL finds no rows, and none are read).
SELECT k.n, s.epoch, s.seq, s.state, c.count, c.version, t.id2, t.time, t.data
FROM JSON_TABLE(?, '$[*]' COLUMNS (
  n INT UNSIGNED PATH '$[0]', shard SMALLINT UNSIGNED PATH '$[1]',
  id1 BIGINT UNSIGNED PATH '$[2]', atype SMALLINT UNSIGNED PATH '$[3]', most BIGINT UNSIGNED PATH '$[4]')) AS k
STRAIGHT_JOIN shard AS s FORCE INDEX (PRIMARY) ON s.shard = k.shard
LEFT JOIN assoc_count AS c FORCE INDEX (PRIMARY) ON c.id1 = k.id1 AND c.atype = k.atype
LEFT JOIN assoc AS t FORCE INDEX (PRIMARY) ON t.id1 = IF(c.count <= k.most, c.id1, NULL) AND t.atype = c.atype
