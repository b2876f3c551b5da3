-- R12: as edges.sql, of one edge.
SELECT 0 AS n, s.epoch, s.seq, s.state, t.time, t.epoch, t.seq, t.data
FROM shard AS s LEFT JOIN assoc AS t FORCE INDEX (PRIMARY) ON t.id1 = ? AND t.atype = ? AND t.id2 = ? WHERE s.shard = ?
