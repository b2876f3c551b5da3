-- One row of each, by key: cheaper than a list of keys. The columns are those of read_edges_and_counts.sql.
SELECT 0, id1, atype, id2, time, epoch, seq, data FROM assoc WHERE id1 = ? AND atype = ? AND id2 = ?
UNION ALL
SELECT 1, id1, atype, NULL, NULL, count, version, NULL FROM assoc_count WHERE id1 = ? AND atype = ?
