START TRANSACTION;
UPDATE shard SET seq = seq + 1 WHERE shard = 0;
INSERT INTO object (id, otype, version, data) VALUES (200001, 1, 7, 'x');
COMMIT;
