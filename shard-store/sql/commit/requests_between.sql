-- R3, H5: what was committed since this leader last looked.
SELECT seq, epoch, outcomes FROM request
WHERE shard = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?
