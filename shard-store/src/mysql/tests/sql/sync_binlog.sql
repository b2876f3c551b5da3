SET GLOBAL sync_binlog = ?
