-- Capability 4: GTIDs as they are, not as BEGIN. The position is one GTID for each domain. Periods are nanoseconds.
SET @mariadb_slave_capability = 4, @slave_connect_state = ?, @slave_gtid_strict_mode = 1, @slave_gtid_ignore_duplicates = 0,
  @master_heartbeat_period = ?, SESSION net_write_timeout = ?
