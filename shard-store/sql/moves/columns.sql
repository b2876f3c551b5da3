-- A line for each column of the tables that a move carries, in words that both kinds of server use.
SELECT CONCAT_WS(' ', table_name, column_name, data_type, IF(column_type LIKE '%unsigned%', 'unsigned', 'signed'), is_nullable,
  IF(column_key = 'PRI', 'key', '-'), COALESCE(collation_name, '-'))
FROM information_schema.columns
WHERE table_schema = DATABASE()
  AND table_name IN ('object', 'assoc', 'assoc_count', 'outbox', 'tombstone', 'request', 'epoch_history', 'shard', 'shard_move')
ORDER BY table_name, ordinal_position
