SELECT COUNT(*) FROM information_schema.plugins WHERE plugin_name IN ('rpl_semi_sync_source', 'rpl_semi_sync_replica') AND plugin_status = 'ACTIVE'
