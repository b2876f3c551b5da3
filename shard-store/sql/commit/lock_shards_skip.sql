-- R2, H1, H2: by primary key, in key order, no join; a row that another transaction holds is not waited for. The forced
-- index keeps a small table from being scanned whole. The clock stamps what is kept only for a time; read_only keeps a
-- user who may ignore that setting from writing to a replica.
SELECT shard, epoch, seq, state, next_id, CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED), @@GLOBAL.read_only
FROM shard FORCE INDEX (PRIMARY) WHERE shard IN ({?}) ORDER BY shard FOR UPDATE SKIP LOCKED
