-- The period is in nanoseconds, under its old and its new name.
SET @master_heartbeat_period = ?, @source_heartbeat_period = ?, SESSION net_write_timeout = ?
