UPDATE IGNORE plain.assoc SET atype = ? WHERE id1 = ? AND atype = ? AND id2 = ?
