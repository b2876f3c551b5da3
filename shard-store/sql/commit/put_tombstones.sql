INSERT INTO tombstone (id1, atype, id2, epoch, seq, at) VALUES {(?, ?, ?, ?, ?, ?)}
ON DUPLICATE KEY UPDATE epoch = VALUES(epoch), seq = VALUES(seq), at = VALUES(at)
