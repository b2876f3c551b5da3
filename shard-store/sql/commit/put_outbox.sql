INSERT INTO outbox (id1, atype, id2, inverse_atype, present, time, epoch, seq, data) VALUES {(?, ?, ?, ?, ?, ?, ?, ?, ?)}
ON DUPLICATE KEY UPDATE inverse_atype = VALUES(inverse_atype), present = VALUES(present), time = VALUES(time),
  epoch = VALUES(epoch), seq = VALUES(seq), data = VALUES(data)
