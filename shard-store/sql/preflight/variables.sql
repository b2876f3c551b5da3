-- Of these, the server answers those that it has.
SHOW GLOBAL VARIABLES WHERE Variable_name IN (
  'binlog_checksum', 'binlog_expire_logs_seconds', 'binlog_format', 'binlog_order_commits', 'binlog_row_event_max_size',
  'binlog_row_image', 'binlog_row_metadata', 'binlog_row_value_options', 'binlog_transaction_compression',
  'enforce_gtid_consistency', 'gtid_mode', 'gtid_strict_mode', 'innodb_flush_log_at_trx_commit', 'log_bin',
  'log_bin_compress', 'log_replica_updates', 'log_slave_updates', 'max_allowed_packet', 'read_only',
  'replica_max_allowed_packet', 'replica_parallel_workers', 'replica_preserve_commit_order', 'slave_max_allowed_packet',
  'sync_binlog')
