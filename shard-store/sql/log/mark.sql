-- Nodes share the slots: who comes later within the same time changes nothing. The position is set first, by the old time.
INSERT INTO log_mark (slot, at, position)
SELECT CAST(? AS UNSIGNED), CAST(? AS UNSIGNED), ? FROM DUAL WHERE @@GLOBAL.read_only = 0
ON DUPLICATE KEY UPDATE position = IF(log_mark.at + ? <= VALUES(at), VALUES(position), log_mark.position),
  at = IF(log_mark.at + ? <= VALUES(at), VALUES(at), log_mark.at)
