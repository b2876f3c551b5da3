-- Rows: shard, epoch, first seq.
INSERT INTO epoch_history (shard, epoch, first_seq)
SELECT k.shard, k.epoch, k.first_seq FROM JSON_TABLE(?, '$[*]' COLUMNS (
  shard SMALLINT UNSIGNED PATH '$[0]', epoch INT UNSIGNED PATH '$[1]', first_seq BIGINT UNSIGNED PATH '$[2]')) AS k
