INSERT INTO migration (version, name, checksum, applied_at) VALUES (99, '0099_later', '0', UTC_TIMESTAMP(3))
