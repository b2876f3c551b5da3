INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'
