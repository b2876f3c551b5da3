-- By as many edges as were not there, whatever the count was.
INSERT INTO assoc_count (id1, atype, count, version) VALUES {(?, ?, ?, ?)}
ON DUPLICATE KEY UPDATE count = count + VALUES(count), version = VALUES(version)
