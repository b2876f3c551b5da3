SET GLOBAL sync_binlog = 7;
SET GLOBAL binlog_row_image = 'NOBLOB'
