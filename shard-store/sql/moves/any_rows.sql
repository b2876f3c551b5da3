-- Whether any table holds a row of the shard: its id range, and its number.
SELECT EXISTS(SELECT 1 FROM object WHERE id >= ? AND id <= ?)
  OR EXISTS(SELECT 1 FROM assoc WHERE id1 >= ? AND id1 <= ?)
  OR EXISTS(SELECT 1 FROM assoc_count WHERE id1 >= ? AND id1 <= ?)
  OR EXISTS(SELECT 1 FROM outbox WHERE id1 >= ? AND id1 <= ?)
  OR EXISTS(SELECT 1 FROM tombstone WHERE id1 >= ? AND id1 <= ?)
  OR EXISTS(SELECT 1 FROM request WHERE shard = ?)
  OR EXISTS(SELECT 1 FROM epoch_history WHERE shard = ?)
