-- A chunk and the shard row from one snapshot (R25, H31). All pages answer the same columns: kind, eight numbers, data. The
-- header has kind 0: epoch, seq, state, next_id.
SELECT 0 AS kind, epoch AS a, seq AS b, state AS c, next_id AS d, NULL AS e, NULL AS f, NULL AS g, NULL AS h, NULL AS data
FROM shard WHERE shard = ?
UNION ALL
SELECT 1, id, otype, version, NULL, NULL, NULL, NULL, NULL, data FROM (
  SELECT id, otype, version, data FROM object FORCE INDEX (PRIMARY)
  WHERE id >= ? AND id <= ? ORDER BY id LIMIT ?) AS page
