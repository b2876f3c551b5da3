SET GLOBAL net_write_timeout = ?
