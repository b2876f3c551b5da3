-- read_only keeps a user who may ignore that setting from writing to a replica.
INSERT INTO heartbeat (writer, nonce, at)
SELECT CAST(? AS UNSIGNED), CAST(? AS UNSIGNED), CAST(? AS UNSIGNED) FROM DUAL WHERE @@GLOBAL.read_only = 0
ON DUPLICATE KEY UPDATE nonce = VALUES(nonce), at = VALUES(at)
