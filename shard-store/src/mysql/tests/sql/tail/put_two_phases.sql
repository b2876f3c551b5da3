XA START 'two';
UPDATE shard SET seq = seq + 1 WHERE shard = 0;
INSERT INTO object (id, otype, version, data) SELECT 300000 + seq, 1, seq, 'x' FROM shard WHERE shard = 0;
XA END 'two';
XA PREPARE 'two';
XA COMMIT 'two';
