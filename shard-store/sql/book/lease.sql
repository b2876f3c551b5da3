-- Nobody's, one's own, one that ran out; or whosever, if it is to be taken over.
UPDATE `{database}_meta`.move_book SET version = version + 1, worker = ?,
  lease_until = CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED) + CAST(? AS UNSIGNED)
WHERE id = ? AND open_shard IS NOT NULL
  AND (worker = '' OR worker = ? OR lease_until < CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED) OR CAST(? AS UNSIGNED) = 1)
  AND @@GLOBAL.read_only = 0
