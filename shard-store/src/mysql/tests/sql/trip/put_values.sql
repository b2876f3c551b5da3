INSERT INTO literal (id, negative, time, atype, state, nonce, data) VALUES {(?, ?, ?, ?, ?, ?, ?)}
ON DUPLICATE KEY UPDATE negative = VALUES(negative), nonce = VALUES(nonce), data = VALUES(data)
