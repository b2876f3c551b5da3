-- Ordinary accounts stay shut out by read_only; this one may write.
SET GLOBAL read_only = 1, super_read_only = 0
