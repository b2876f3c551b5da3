SET SESSION autocommit = 1, innodb_lock_wait_timeout = ?, wait_timeout = ?, sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00'
