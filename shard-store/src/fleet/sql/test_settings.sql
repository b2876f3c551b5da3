SELECT CONCAT_WS(' ', IF(@@log_bin, 'log', 'none'), @@binlog_format, @@binlog_row_image, @@binlog_row_metadata, @@sync_binlog,
                 @@innodb_flush_log_at_trx_commit, IF(@@local_infile, 'infile', 'safe'), @@max_connections)
