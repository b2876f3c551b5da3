SET GLOBAL binlog_row_metadata = 'NO_LOG'
