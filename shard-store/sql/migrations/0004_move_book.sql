-- Moves of shards, as a cluster knows them (PROTOCOL R25): for people and for workers. What decides a move are the shard rows and
-- shard_move of its two servers, never this.

-- One row. last: the last id that was given to a move, or to an attempt of one.
CREATE TABLE IF NOT EXISTS `{database}_meta`.move_counter (
  one TINYINT UNSIGNED NOT NULL,
  last BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (one)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin;

-- open_shard: the shard while the move is not over, so that there is one such move a shard. home: where the shard was first; source_group
-- and target_group change places when a move is reversed. attempt: the id by which the servers know what is under way; back: that of the
-- stream back, 0: none. orders: what operators want, notes: what the worker says, JSON each. worker, lease_until: who works, by the clock
-- of this server. Times are milliseconds since the Unix epoch.
CREATE TABLE IF NOT EXISTS `{database}_meta`.move_book (
  id BIGINT UNSIGNED NOT NULL,
  version BIGINT UNSIGNED NOT NULL,
  shard SMALLINT UNSIGNED NOT NULL,
  open_shard SMALLINT UNSIGNED NULL,
  home SMALLINT UNSIGNED NOT NULL,
  source_group SMALLINT UNSIGNED NOT NULL,
  target_group SMALLINT UNSIGNED NOT NULL,
  attempt BIGINT UNSIGNED NOT NULL,
  back BIGINT UNSIGNED NOT NULL,
  state TINYINT UNSIGNED NOT NULL,
  orders MEDIUMTEXT NOT NULL,
  notes MEDIUMTEXT NOT NULL,
  worker VARCHAR(255) NOT NULL,
  lease_until BIGINT UNSIGNED NOT NULL,
  created_at BIGINT UNSIGNED NOT NULL,
  changed_at BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY open_shard (open_shard),
  KEY shard (shard, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin;
