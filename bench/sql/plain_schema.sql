-- What an application without the tier would have: objects, edges and exact counts, in one schema.
CREATE DATABASE IF NOT EXISTS plain;
CREATE TABLE IF NOT EXISTS plain.object (
  id BIGINT UNSIGNED NOT NULL PRIMARY KEY,
  data MEDIUMBLOB NOT NULL
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS plain.assoc (
  id1 BIGINT UNSIGNED NOT NULL,
  atype SMALLINT UNSIGNED NOT NULL,
  id2 BIGINT UNSIGNED NOT NULL,
  time INT UNSIGNED NOT NULL,
  data MEDIUMBLOB NOT NULL,
  PRIMARY KEY (id1, atype, id2),
  KEY by_time (id1, atype, time)
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS plain.assoc_count (
  id1 BIGINT UNSIGNED NOT NULL,
  atype SMALLINT UNSIGNED NOT NULL,
  count BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (id1, atype)
) ENGINE = InnoDB;
