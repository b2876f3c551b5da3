-- A server that was a primary goes on after its own last transaction: as a replica it would begin where it last replicated.
SET GLOBAL gtid_slave_pos = @@GLOBAL.gtid_binlog_pos
