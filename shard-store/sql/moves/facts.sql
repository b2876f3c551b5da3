-- How long the log is kept (0: for ever); bytes and rows of all tables, by the server's own estimate; where the data is.
SELECT CAST(@@GLOBAL.binlog_expire_logs_seconds AS UNSIGNED), CAST(COALESCE(SUM(data_length + index_length), 0) AS UNSIGNED),
  CAST(COALESCE(SUM(table_rows), 0) AS UNSIGNED), @@GLOBAL.datadir, @@GLOBAL.hostname
FROM information_schema.tables WHERE table_schema = DATABASE()
