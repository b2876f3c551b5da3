INSERT IGNORE INTO plain.object (id, data) VALUES (?, ?)
