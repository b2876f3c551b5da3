SET GLOBAL read_only = 1
