-- A row that no version belongs to: written past the tier, without its shard row.
INSERT INTO tao.object (id, otype, version, data) VALUES (?, 2, 1, '')
