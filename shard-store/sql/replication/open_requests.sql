-- Rows: shard, epoch, seq. Each advance of a shard has its request row (R3).
INSERT INTO request (shard, seq, epoch, nonce, at, outcomes)
SELECT k.shard, k.seq, k.epoch, ?, CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED), '' FROM JSON_TABLE(?, '$[*]' COLUMNS (
  shard SMALLINT UNSIGNED PATH '$[0]', epoch INT UNSIGNED PATH '$[1]', seq BIGINT UNSIGNED PATH '$[2]')) AS k
