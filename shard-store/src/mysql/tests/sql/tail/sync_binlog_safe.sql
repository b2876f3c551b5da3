SET GLOBAL sync_binlog = 1;
SET GLOBAL binlog_row_image = 'FULL'
