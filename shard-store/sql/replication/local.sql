SET SESSION sql_log_bin = 0
