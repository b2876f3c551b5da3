-- What travels through the log beside the rows of the shards (PROTOCOL R8, R17), and the stored topology.

-- The last heartbeat of each node. at: milliseconds since the Unix epoch, by the clock of the primary.
CREATE TABLE IF NOT EXISTS heartbeat (
  writer BIGINT UNSIGNED NOT NULL,
  nonce BIGINT UNSIGNED NOT NULL,
  at BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (writer)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin;

-- What the primary had executed at some times of the last minutes, so that "60 s back" is known on every replica (R17).
CREATE TABLE IF NOT EXISTS log_mark (
  slot TINYINT UNSIGNED NOT NULL,
  at BIGINT UNSIGNED NOT NULL,
  position MEDIUMTEXT NOT NULL,
  PRIMARY KEY (slot)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE DATABASE IF NOT EXISTS `{database}_meta` CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS `{database}_meta`.topology (
  version BIGINT UNSIGNED NOT NULL,
  toml MEDIUMTEXT NOT NULL,
  at BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (version)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin;
