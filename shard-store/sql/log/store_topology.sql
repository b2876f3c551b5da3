-- Compare and set: the newest version must be the one before, or none must be there.
INSERT INTO `{database}_meta`.topology (version, toml, at)
SELECT CAST(? AS UNSIGNED), ?, CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED) FROM DUAL
WHERE @@GLOBAL.read_only = 0
  AND COALESCE((SELECT MAX(version) FROM `{database}_meta`.topology), CAST(? AS UNSIGNED)) = CAST(? AS UNSIGNED)
