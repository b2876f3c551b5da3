-- R12: as counts.sql, of one list.
SELECT 0 AS n, s.epoch, s.seq, s.state, t.count, t.version
FROM shard AS s LEFT JOIN assoc_count AS t ON t.id1 = ? AND t.atype = ? WHERE s.shard = ?
