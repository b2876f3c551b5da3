-- For a batch of one unit whose row was not seen by lock_shards_skip.sql: waits, so that no answer means no row. One row
-- only, and nothing else held: such waits can't form a circle.
SELECT shard, epoch, seq, state, next_id, CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED), @@GLOBAL.read_only
FROM shard WHERE shard = ? FOR UPDATE
