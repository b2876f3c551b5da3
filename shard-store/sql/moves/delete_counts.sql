DELETE t FROM JSON_TABLE(?, '$[*]' COLUMNS (
  id1 BIGINT UNSIGNED PATH '$[0]', atype SMALLINT UNSIGNED PATH '$[1]')) AS k
STRAIGHT_JOIN assoc_count AS t FORCE INDEX (PRIMARY) ON t.id1 = k.id1 AND t.atype = k.atype
