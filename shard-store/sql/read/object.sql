-- R12: as objects.sql, of one object: no list of keys is to be taken apart.
SELECT 0 AS n, s.epoch, s.seq, s.state, t.otype, t.version, t.data
FROM shard AS s LEFT JOIN object AS t ON t.id = ? WHERE s.shard = ?
