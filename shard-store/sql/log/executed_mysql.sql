SELECT @@GLOBAL.gtid_executed
