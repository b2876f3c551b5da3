SELECT data FROM plain.object WHERE id = ?
