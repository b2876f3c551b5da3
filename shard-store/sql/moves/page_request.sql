-- As page_object.sql. data: the nonce's 16 bytes, and the outcomes.
SELECT 0 AS kind, epoch AS a, seq AS b, state AS c, next_id AS d, NULL AS e, NULL AS f, NULL AS g, NULL AS h, NULL AS data
FROM shard WHERE shard = ?
UNION ALL
SELECT 1, seq, epoch, at, NULL, NULL, NULL, NULL, NULL, CONCAT(nonce, outcomes) FROM (
  SELECT seq, epoch, nonce, at, outcomes FROM request FORCE INDEX (PRIMARY)
  WHERE shard = ? AND seq >= ? ORDER BY seq LIMIT ?) AS page
