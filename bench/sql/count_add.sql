INSERT IGNORE INTO plain.assoc_count (id1, atype, count) VALUES (?, ?, ?)
