-- As objects.sql. The key to start from is spelled as three ranges, because neither engine makes a range of a comparison
-- of rows.
SELECT 0 AS kind, NULL AS id1, NULL AS atype, NULL AS id2, NULL AS time, epoch, seq, NULL AS inverse_atype, NULL AS present, NULL AS data
FROM shard WHERE shard = ?
UNION ALL
SELECT 1, id1, atype, id2, time, epoch, seq, NULL, NULL, data FROM (
  SELECT id1, atype, id2, time, epoch, seq, data FROM assoc FORCE INDEX (PRIMARY)
  WHERE (id1 = ? AND atype = ? AND id2 >= ?) OR (id1 = ? AND atype > ?) OR (id1 > ? AND id1 <= ?)
  ORDER BY id1, atype, id2 LIMIT ?) AS page
