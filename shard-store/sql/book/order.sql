UPDATE `{database}_meta`.move_book SET version = version + 1, orders = ?,
  changed_at = CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED)
WHERE id = ? AND open_shard IS NOT NULL AND version = ? AND @@GLOBAL.read_only = 0
