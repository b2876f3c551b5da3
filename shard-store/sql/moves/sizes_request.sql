-- As sizes_object.sql.
SELECT OCTET_LENGTH(outcomes) FROM request FORCE INDEX (PRIMARY) WHERE shard = ? AND seq >= ? ORDER BY seq LIMIT ?
