-- The end of the oldest rows, at most as many as given, before the first that is still to be kept: bounded, and right even if the clock
-- was once set back.
SELECT COALESCE(MIN(CASE WHEN at > CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED) - ? THEN seq END), MAX(seq) + 1)
FROM (SELECT seq, at FROM request WHERE shard = ? ORDER BY seq LIMIT ?) AS oldest
