-- One year in milliseconds: until a replica has it, however long that takes, also while there is none (R5).
SET GLOBAL rpl_semi_sync_source_timeout = 31536000000, rpl_semi_sync_source_wait_no_replica = 1,
  rpl_semi_sync_source_wait_for_replica_count = 1, rpl_semi_sync_source_wait_point = AFTER_SYNC,
  rpl_semi_sync_source_enabled = 1, rpl_semi_sync_replica_enabled = 0
