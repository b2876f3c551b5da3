-- The join order and index are forced: rows are found, and locked, by primary key only.
DELETE t FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT UNSIGNED PATH '$[0]')) AS k
STRAIGHT_JOIN object AS t FORCE INDEX (PRIMARY) ON t.id = k.id
