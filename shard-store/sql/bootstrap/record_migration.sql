INSERT INTO migration (version, name, checksum, applied_at) VALUES (?, ?, ?, UTC_TIMESTAMP(3))
