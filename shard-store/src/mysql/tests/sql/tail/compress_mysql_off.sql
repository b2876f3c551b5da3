SET SESSION binlog_transaction_compression = OFF
