-- The join order and index are forced: rows are found, and locked, by primary key only.
DELETE t FROM JSON_TABLE(?, '$[*]' COLUMNS (
  id1 BIGINT UNSIGNED PATH '$[0]', atype SMALLINT UNSIGNED PATH '$[1]', id2 BIGINT UNSIGNED PATH '$[2]')) AS k
STRAIGHT_JOIN assoc AS t FORCE INDEX (PRIMARY) ON t.id1 = k.id1 AND t.atype = k.atype AND t.id2 = k.id2
