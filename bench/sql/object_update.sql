UPDATE plain.object SET data = ? WHERE id = ?
