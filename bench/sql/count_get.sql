SELECT count FROM plain.assoc_count WHERE id1 = ? AND atype = ?
