-- R12: as lists_whole.sql, of one list.
SELECT 0 AS n, s.epoch, s.seq, s.state, c.count, c.version, t.id2, t.time, t.data
FROM shard AS s LEFT JOIN assoc_count AS c ON c.id1 = ? AND c.atype = ?
LEFT JOIN assoc AS t FORCE INDEX (PRIMARY) ON t.id1 = IF(c.count <= ?, c.id1, NULL) AND t.atype = c.atype
WHERE s.shard = ?
