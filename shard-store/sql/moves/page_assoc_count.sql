-- As page_object.sql; the range as in scan/counts.sql.
SELECT 0 AS kind, epoch AS a, seq AS b, state AS c, next_id AS d, NULL AS e, NULL AS f, NULL AS g, NULL AS h, NULL AS data
FROM shard WHERE shard = ?
UNION ALL
SELECT 1, id1, atype, count, version, NULL, NULL, NULL, NULL, NULL FROM (
  SELECT id1, atype, count, version FROM assoc_count FORCE INDEX (PRIMARY)
  WHERE (id1 = ? AND atype >= ?) OR (id1 > ? AND id1 <= ?)
  ORDER BY id1, atype LIMIT ?) AS page
