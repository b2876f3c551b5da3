-- One row, by key: cheaper than a list of keys. The columns are those of read_objects.sql.
SELECT id, otype, version, data FROM object WHERE id = ?
