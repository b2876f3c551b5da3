-- One row, by key: cheaper than a list of keys. The columns are those of read_outbox_and_tombstones.sql.
SELECT 0, id1, atype, id2, inverse_atype, present, time, epoch, seq, data
FROM outbox WHERE id1 = ? AND atype = ? AND id2 = ?
