SELECT t.id, t.otype, t.version, t.data
FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT UNSIGNED PATH '$[0]')) AS k
STRAIGHT_JOIN object AS t FORCE INDEX (PRIMARY) ON t.id = k.id
