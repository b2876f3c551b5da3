START TRANSACTION;
UPDATE shard SET epoch = epoch + 1 WHERE shard = 1;
INSERT INTO epoch_history (shard, epoch, first_seq) SELECT shard, epoch, seq + 1 FROM shard WHERE shard = 1;
COMMIT;
