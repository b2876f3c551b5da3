-- One year in milliseconds: until a replica has it, however long that takes, also while there is none (R5).
SET GLOBAL rpl_semi_sync_master_timeout = 31536000000, rpl_semi_sync_master_wait_no_slave = 1,
  rpl_semi_sync_master_wait_point = AFTER_SYNC, rpl_semi_sync_master_enabled = 1, rpl_semi_sync_slave_enabled = 0
