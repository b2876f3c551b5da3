-- As page_object.sql.
SELECT 0 AS kind, epoch AS a, seq AS b, state AS c, next_id AS d, NULL AS e, NULL AS f, NULL AS g, NULL AS h, NULL AS data
FROM shard WHERE shard = ?
UNION ALL
SELECT 1, epoch, first_seq, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM (
  SELECT epoch, first_seq FROM epoch_history FORCE INDEX (PRIMARY)
  WHERE shard = ? AND epoch >= ? ORDER BY epoch LIMIT ?) AS page
