SET GLOBAL log_bin_compress = OFF
