DELETE FROM tombstone WHERE id1 >= ? AND id1 <= ? ORDER BY id1, atype, id2 LIMIT ?
