-- One row, by key: cheaper than a list of keys. The columns are those of read_outbox_and_tombstones.sql.
SELECT 1, id1, atype, id2, NULL, NULL, at, epoch, seq, NULL
FROM tombstone WHERE id1 = ? AND atype = ? AND id2 = ?
