-- As page_object.sql; the range as in scan/edges.sql.
SELECT 0 AS kind, epoch AS a, seq AS b, state AS c, next_id AS d, NULL AS e, NULL AS f, NULL AS g, NULL AS h, NULL AS data
FROM shard WHERE shard = ?
UNION ALL
SELECT 1, id1, atype, id2, time, epoch, seq, NULL, NULL, data FROM (
  SELECT id1, atype, id2, time, epoch, seq, data FROM assoc FORCE INDEX (PRIMARY)
  WHERE (id1 = ? AND atype = ? AND id2 >= ?) OR (id1 = ? AND atype > ?) OR (id1 > ? AND id1 <= ?)
  ORDER BY id1, atype, id2 LIMIT ?) AS page
