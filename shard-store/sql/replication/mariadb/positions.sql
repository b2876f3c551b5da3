-- Executed: the last transaction of each server that wrote one, from the binlog or from what was replicated.
-- Applied: of what was replicated, the last that is committed and visible; the binlog counts some that are not yet (H9).
SELECT CONCAT_WS(',', @@GLOBAL.gtid_binlog_state, @@GLOBAL.gtid_slave_pos), @@GLOBAL.gtid_slave_pos
