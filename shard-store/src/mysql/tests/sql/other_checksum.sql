UPDATE migration SET checksum = '0' WHERE version = 1
