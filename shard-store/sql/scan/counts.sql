-- As objects.sql. The key to start from is spelled as three ranges, because neither engine makes a range of a comparison
-- of rows.
SELECT 0 AS kind, NULL AS id1, NULL AS atype, NULL AS id2, NULL AS time, epoch, seq, NULL AS inverse_atype, NULL AS present, NULL AS data
FROM shard WHERE shard = ?
UNION ALL
SELECT 1, id1, atype, count, NULL, NULL, version, NULL, NULL, NULL FROM (
  SELECT id1, atype, count, version FROM assoc_count FORCE INDEX (PRIMARY)
  WHERE (id1 = ? AND atype >= ?) OR (id1 > ? AND id1 <= ?)
  ORDER BY id1, atype LIMIT ?) AS page
