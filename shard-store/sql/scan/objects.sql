-- R12: header (shard row) and one page from one snapshot. All four scans answer the same columns: kind, id1, atype, id2,
-- time, epoch, seq, inverse_atype, present, data; the header has kind 0 and the shard's seq and epoch in their places.
SELECT 0 AS kind, NULL AS id1, NULL AS atype, NULL AS id2, NULL AS time, epoch, seq, NULL AS inverse_atype, NULL AS present, NULL AS data
FROM shard WHERE shard = ?
UNION ALL
SELECT 1, id, NULL, NULL, otype, NULL, version, NULL, NULL, data FROM (
  SELECT id, otype, version, data FROM object FORCE INDEX (PRIMARY)
  WHERE id >= ? AND id <= ? ORDER BY id LIMIT ?) AS page
