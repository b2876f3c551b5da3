INSERT INTO assoc (id1, atype, id2, time, epoch, seq, data) VALUES {(?, ?, ?, ?, ?, ?, ?)}
ON DUPLICATE KEY UPDATE time = VALUES(time), epoch = VALUES(epoch), seq = VALUES(seq), data = VALUES(data)
