START TRANSACTION;
INSERT INTO shard (shard, epoch, seq, state, next_id) VALUES (7, 1, 40, 3, 1);
INSERT INTO object (id, otype, version, data) VALUES (1970324836974593, 1, 33, 'copied');
COMMIT;
INSERT INTO object (id, otype, version, data) VALUES (1970324836974594, 1, 34, 'copied');
UPDATE shard SET seq = 44 WHERE shard = 7
