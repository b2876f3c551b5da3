SET GLOBAL super_read_only = 1
