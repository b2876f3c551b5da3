SET GLOBAL log_bin_compress_min_len = 10;
SET GLOBAL log_bin_compress = ON
