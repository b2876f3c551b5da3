-- The end of the oldest rows up to a seq, at most as many as given: bounded.
SELECT MAX(seq) + 1 FROM (SELECT seq FROM request WHERE shard = ? AND seq <= ? ORDER BY seq LIMIT ?) AS oldest
