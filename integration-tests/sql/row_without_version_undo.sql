-- Takes that row away again.
DELETE FROM tao.object WHERE id = ?
