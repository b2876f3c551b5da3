SET GLOBAL read_only = ?
