-- The tables that all shards of a server share. Every key starts with an id, whose top 16 bits are the shard, so each
-- shard is one contiguous range of each table. Primary keys only, beside one index that is not unique; no foreign keys:
-- a unique index or a foreign key would lock gaps and rows of other shards (PROTOCOL R1).
-- Strings are never compared; the binary collation says so.

CREATE TABLE IF NOT EXISTS shard (
  shard SMALLINT UNSIGNED NOT NULL,
  epoch INT UNSIGNED NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  state TINYINT UNSIGNED NOT NULL,
  next_id BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (shard)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin;

-- Written with each epoch (R19).
CREATE TABLE IF NOT EXISTS epoch_history (
  shard SMALLINT UNSIGNED NOT NULL,
  epoch INT UNSIGNED NOT NULL,
  first_seq BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (shard, epoch)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS object (
  id BIGINT UNSIGNED NOT NULL,
  otype SMALLINT UNSIGNED NOT NULL,
  version BIGINT UNSIGNED NOT NULL,
  data MEDIUMBLOB NOT NULL,
  PRIMARY KEY (id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin;

-- (epoch, seq): position in the log of the shard that orders the edge (R22). An edge may hold 65,536 bytes, one more
-- than a BLOB. InnoDB would append id2 to the index anyway; naming it makes "newest first" an index scan for certain.
CREATE TABLE IF NOT EXISTS assoc (
  id1 BIGINT UNSIGNED NOT NULL,
  atype SMALLINT UNSIGNED NOT NULL,
  id2 BIGINT UNSIGNED NOT NULL,
  time INT UNSIGNED NOT NULL,
  epoch INT UNSIGNED NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  data MEDIUMBLOB NOT NULL,
  PRIMARY KEY (id1, atype, id2),
  KEY by_time (id1, atype, time, id2)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin;

-- Never deleted: versions of a list never start again (R13).
CREATE TABLE IF NOT EXISTS assoc_count (
  id1 BIGINT UNSIGNED NOT NULL,
  atype SMALLINT UNSIGNED NOT NULL,
  count BIGINT UNSIGNED NOT NULL,
  version BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (id1, atype)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin;

-- The latest state of a pair whose other side is not known to be applied (R22). present = 0: deleted.
CREATE TABLE IF NOT EXISTS outbox (
  id1 BIGINT UNSIGNED NOT NULL,
  atype SMALLINT UNSIGNED NOT NULL,
  id2 BIGINT UNSIGNED NOT NULL,
  inverse_atype SMALLINT UNSIGNED NOT NULL,
  present TINYINT UNSIGNED NOT NULL,
  time INT UNSIGNED NOT NULL,
  epoch INT UNSIGNED NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  data MEDIUMBLOB NOT NULL,
  PRIMARY KEY (id1, atype, id2)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin;

-- What a deleted inverse edge leaves (R22). at: milliseconds since the Unix epoch, for retention only.
CREATE TABLE IF NOT EXISTS tombstone (
  id1 BIGINT UNSIGNED NOT NULL,
  atype SMALLINT UNSIGNED NOT NULL,
  id2 BIGINT UNSIGNED NOT NULL,
  epoch INT UNSIGNED NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  at BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (id1, atype, id2)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin;

-- One row for each advance of a shard: request ids with outcomes (R3), and the nonce of the batch, by which a leader
-- whose COMMIT got no answer recognises its own work (R4).
CREATE TABLE IF NOT EXISTS request (
  shard SMALLINT UNSIGNED NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  epoch INT UNSIGNED NOT NULL,
  nonce BINARY(16) NOT NULL,
  at BIGINT UNSIGNED NOT NULL,
  outcomes MEDIUMBLOB NOT NULL,
  PRIMARY KEY (shard, seq)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin;
