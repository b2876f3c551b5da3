SELECT id2, time, data FROM plain.assoc WHERE id1 = ? AND atype = ? ORDER BY time DESC LIMIT ?
