-- Only the worker that holds the lease, and while it does.
UPDATE `{database}_meta`.move_book SET version = version + 1, open_shard = IF(CAST(? AS UNSIGNED) = 1, shard, NULL),
  source_group = ?, target_group = ?, attempt = ?, back = ?, state = ?, notes = ?,
  changed_at = CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED)
WHERE id = ? AND open_shard IS NOT NULL AND worker = ? AND lease_until >= CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED)
  AND @@GLOBAL.read_only = 0
