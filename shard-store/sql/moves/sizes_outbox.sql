-- As sizes_object.sql.
SELECT OCTET_LENGTH(data) FROM outbox FORCE INDEX (PRIMARY)
WHERE (id1 = ? AND atype = ? AND id2 >= ?) OR (id1 = ? AND atype > ?) OR (id1 > ? AND id1 <= ?)
  ORDER BY id1, atype, id2 LIMIT ?
