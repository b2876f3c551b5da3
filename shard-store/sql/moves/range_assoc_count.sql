DELETE FROM assoc_count WHERE id1 >= ? AND id1 <= ? ORDER BY id1, atype LIMIT ?
