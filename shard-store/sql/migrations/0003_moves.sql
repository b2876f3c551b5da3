-- What this server knows of the moves of its shards, to here and from here (PROTOCOL R25): one row a move, kept, so that a call of a
-- move that is over is recognised. role: 0 here is the target, 1 here is the source. outcome: 0 running, 1 committed, 2 aborted, 3 retired (the
-- source's rows went). epoch 0: given up before it began here.
-- copied_table, last_*: what is copied, see moves/record.rs; applied_epoch, applied: the source's log up to this seq is
-- here, or the fence.
-- log_position: where to go on in the other server's log. step: counts imports, each of which names the one before.
CREATE TABLE IF NOT EXISTS shard_move (
  shard SMALLINT UNSIGNED NOT NULL,
  move_id BIGINT UNSIGNED NOT NULL,
  role TINYINT UNSIGNED NOT NULL,
  epoch INT UNSIGNED NOT NULL,
  peer VARCHAR(255) NOT NULL,
  outcome TINYINT UNSIGNED NOT NULL,
  copied_table TINYINT UNSIGNED NOT NULL,
  has_last TINYINT UNSIGNED NOT NULL,
  last_1 BIGINT UNSIGNED NOT NULL,
  last_2 BIGINT UNSIGNED NOT NULL,
  last_3 BIGINT UNSIGNED NOT NULL,
  applied_epoch INT UNSIGNED NOT NULL,
  applied BIGINT UNSIGNED NOT NULL,
  log_position MEDIUMTEXT NOT NULL,
  step BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (shard, move_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin;
