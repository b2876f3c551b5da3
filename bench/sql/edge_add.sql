INSERT INTO plain.assoc (id1, atype, id2, time, data) VALUES (?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE time = VALUES(time), data = VALUES(data)
