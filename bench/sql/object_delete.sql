DELETE FROM plain.object WHERE id = ?
