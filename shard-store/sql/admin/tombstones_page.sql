SELECT id1, atype, id2, at <= CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED) - ? FROM tombstone FORCE INDEX (PRIMARY)
WHERE (id1 = ? AND atype = ? AND id2 >= ?) OR (id1 = ? AND atype > ?) OR (id1 > ? AND id1 <= ?)
ORDER BY id1, atype, id2 LIMIT ?
