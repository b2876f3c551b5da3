-- The version of an object, as one server has it: its replica may be behind.
SELECT version FROM tao.object WHERE id = ?
