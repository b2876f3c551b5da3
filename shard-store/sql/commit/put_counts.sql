INSERT INTO assoc_count (id1, atype, count, version) VALUES {(?, ?, ?, ?)}
ON DUPLICATE KEY UPDATE count = VALUES(count), version = VALUES(version)
