INSERT INTO object (id, otype, version, data) VALUES (200000, 1, 1, 'x')
