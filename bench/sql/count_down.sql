UPDATE plain.assoc_count SET count = count - 1 WHERE id1 = ? AND atype = ?
