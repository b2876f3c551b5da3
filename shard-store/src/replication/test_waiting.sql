SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_%_wait_sessions'
