-- In the order in which tables are copied.
SELECT (SELECT COUNT(*) FROM object WHERE id >= ? AND id <= ?), (SELECT COUNT(*) FROM assoc WHERE id1 >= ? AND id1 <= ?),
  (SELECT COUNT(*) FROM assoc_count WHERE id1 >= ? AND id1 <= ?), (SELECT COUNT(*) FROM outbox WHERE id1 >= ? AND id1 <= ?),
  (SELECT COUNT(*) FROM tombstone WHERE id1 >= ? AND id1 <= ?), (SELECT COUNT(*) FROM request WHERE shard = ?),
  (SELECT COUNT(*) FROM epoch_history WHERE shard = ?)
