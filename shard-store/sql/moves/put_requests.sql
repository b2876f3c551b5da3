-- Rows of another server's log: a row that was copied may come again (a purge and a copy cross).
INSERT INTO request (shard, seq, epoch, nonce, at, outcomes) VALUES {(?, ?, ?, ?, ?, ?)}
ON DUPLICATE KEY UPDATE epoch = VALUES(epoch), nonce = VALUES(nonce), at = VALUES(at), outcomes = VALUES(outcomes)
