DELETE FROM object WHERE id >= ? AND id <= ? ORDER BY id LIMIT ?
