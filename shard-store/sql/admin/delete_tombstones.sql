-- The age again: the tombstone may have been renewed since its key was read.
DELETE t FROM JSON_TABLE(?, '$[*]' COLUMNS (
  id1 BIGINT UNSIGNED PATH '$[0]', atype SMALLINT UNSIGNED PATH '$[1]', id2 BIGINT UNSIGNED PATH '$[2]')) AS k
STRAIGHT_JOIN tombstone AS t FORCE INDEX (PRIMARY) ON t.id1 = k.id1 AND t.atype = k.atype AND t.id2 = k.id2
WHERE t.at <= CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED) - ?
