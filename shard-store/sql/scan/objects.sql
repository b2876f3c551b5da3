-- R12: header (shard row) and one page from one snapshot. All four scans answer the same columns: kind, id1, atype, id2,
-- time, epoch, seq, inverse_atype, present, data; the header has kind 0 and the shard's seq and epoch in their places.
SELECT 0 AS kind, NULL AS id1, NULL AS atype, NULL AS id2, NULL AS time, epoch, seq, NULL AS inverse_atype, NULL AS present, NULL AS data
FROM shard WHERE shard = ?
UNION ALL
SELECT * FROM (
  SELECT 1 AS kind, id, NULL AS atype, NULL AS id2, otype, NULL AS epoch, version, NULL AS inverse_atype, NULL AS present, data FROM object FORCE INDEX (PRIMARY)
  WHERE id >= ? AND id <= ? ORDER BY id LIMIT ?) AS page
