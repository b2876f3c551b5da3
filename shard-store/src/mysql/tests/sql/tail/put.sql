START TRANSACTION;
UPDATE shard SET seq = seq + 1 WHERE shard = 0;
INSERT INTO object (id, otype, version, data) SELECT 100000 + seq, 1, seq, REPEAT('x', 3000) FROM shard WHERE shard = 0;
COMMIT;
