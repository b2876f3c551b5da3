-- A server that was not migrated yet has no moves.
SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'shard_move'
