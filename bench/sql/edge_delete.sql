DELETE FROM plain.assoc WHERE id1 = ? AND atype = ? AND id2 = ?
