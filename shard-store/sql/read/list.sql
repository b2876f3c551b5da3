-- The NULLs stand outside of the derived table: inside, MySQL makes them strings, and numbers beside them as well.
-- R12: header (shard row and count row) and edges from one snapshot. The header's columns stand in the edges' places.
SELECT 0 AS is_edge, s.seq AS a, s.epoch AS b, s.state AS c, t.count AS d, t.version AS e, NULL AS data
FROM shard AS s LEFT JOIN assoc_count AS t ON t.id1 = ? AND t.atype = ? WHERE s.shard = ?
UNION ALL
SELECT 1, id2, time, NULL, NULL, NULL, data FROM (
  SELECT id2, time, data FROM assoc FORCE INDEX (by_time)
  WHERE id1 = ? AND atype = ? AND time >= ? AND time <= ? ORDER BY time DESC, id2 DESC LIMIT ? OFFSET ?) AS newest
