START TRANSACTION;
UPDATE shard SET seq = seq + 1 WHERE shard = 0;
INSERT INTO assoc (id1, atype, id2, time, epoch, seq, data) VALUES (1, 1, 200002, 1, 1, 1, '');
COMMIT;
