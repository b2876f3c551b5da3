-- Bytes of the next rows' data, so that a page is bounded by them.
SELECT OCTET_LENGTH(data) FROM object FORCE INDEX (PRIMARY) WHERE id >= ? AND id <= ? ORDER BY id LIMIT ?
