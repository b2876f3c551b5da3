INSERT INTO `{database}_meta`.move_counter (one, last)
SELECT 1, 0 FROM DUAL WHERE @@GLOBAL.read_only = 0
ON DUPLICATE KEY UPDATE one = VALUES(one)
