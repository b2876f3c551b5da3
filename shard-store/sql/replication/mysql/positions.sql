-- MySQL counts a transaction when it is committed and visible.
SELECT @@GLOBAL.gtid_executed, @@GLOBAL.gtid_executed
