-- Error 1062: the shard has a move that is not over.
INSERT INTO `{database}_meta`.move_book (id, version, shard, open_shard, home, source_group, target_group, attempt, back, state, orders,
  notes, worker, lease_until, created_at, changed_at)
SELECT CAST(? AS UNSIGNED), 1, CAST(? AS UNSIGNED), CAST(? AS UNSIGNED), CAST(? AS UNSIGNED), CAST(? AS UNSIGNED), CAST(? AS UNSIGNED),
  CAST(? AS UNSIGNED), 0, CAST(? AS UNSIGNED), ?, ?, '', 0, CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED),
  CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED)
FROM DUAL WHERE @@GLOBAL.read_only = 0
