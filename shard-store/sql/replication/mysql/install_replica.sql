INSTALL PLUGIN rpl_semi_sync_replica SONAME 'semisync_replica.so'
