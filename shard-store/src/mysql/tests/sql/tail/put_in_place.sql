START TRANSACTION;
UPDATE shard SET seq = seq + 1 WHERE shard = 0;
UPDATE object SET version = (SELECT seq FROM shard WHERE shard = 0), data = 'y' WHERE id = 1;
COMMIT;
