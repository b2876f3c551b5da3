-- The newest first. The last column is the clock that leases go by.
SELECT id, version, shard, COALESCE(open_shard + 1, 0), home, source_group, target_group, attempt, back, state, orders, notes, worker,
  lease_until, created_at, changed_at, CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED)
FROM `{database}_meta`.move_book WHERE shard >= ? AND shard <= ? ORDER BY id DESC LIMIT ?
