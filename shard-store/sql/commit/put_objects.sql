INSERT INTO object (id, otype, version, data) VALUES {(?, ?, ?, ?)}
ON DUPLICATE KEY UPDATE otype = VALUES(otype), version = VALUES(version), data = VALUES(data)
