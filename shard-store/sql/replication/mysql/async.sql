SET GLOBAL rpl_semi_sync_source_enabled = 0, rpl_semi_sync_replica_enabled = 0
