-- R3, H5: what was committed since this leader last looked.
SELECT seq, epoch, at, outcomes FROM request
WHERE shard = ? AND seq > ? AND seq <= ? AND at >= ? ORDER BY seq LIMIT ?
