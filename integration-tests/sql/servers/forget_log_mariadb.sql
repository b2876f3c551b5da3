RESET MASTER
SET GLOBAL gtid_slave_pos = ''
