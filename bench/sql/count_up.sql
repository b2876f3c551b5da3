INSERT INTO plain.assoc_count (id1, atype, count) VALUES (?, ?, 1)
ON DUPLICATE KEY UPDATE count = count + 1
