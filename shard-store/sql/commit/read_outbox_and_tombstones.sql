-- Both belong to inverse edges: one round trip. The first column tells them apart.
SELECT 0, t.id1, t.atype, t.id2, t.inverse_atype, t.present, t.time, t.epoch, t.seq, t.data
FROM JSON_TABLE(?, '$[*]' COLUMNS (
  id1 BIGINT UNSIGNED PATH '$[0]', atype SMALLINT UNSIGNED PATH '$[1]', id2 BIGINT UNSIGNED PATH '$[2]')) AS k
STRAIGHT_JOIN outbox AS t FORCE INDEX (PRIMARY) ON t.id1 = k.id1 AND t.atype = k.atype AND t.id2 = k.id2
UNION ALL
SELECT 1, t.id1, t.atype, t.id2, NULL, NULL, t.at, t.epoch, t.seq, NULL
FROM JSON_TABLE(?, '$[*]' COLUMNS (
  id1 BIGINT UNSIGNED PATH '$[0]', atype SMALLINT UNSIGNED PATH '$[1]', id2 BIGINT UNSIGNED PATH '$[2]')) AS k
STRAIGHT_JOIN tombstone AS t FORCE INDEX (PRIMARY) ON t.id1 = k.id1 AND t.atype = k.atype AND t.id2 = k.id2
