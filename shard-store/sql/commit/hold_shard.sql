-- R2 without a round trip: locks a shard's row if it is the one that the text behind it was made for, else ends the text (error
-- 1690). A row that another transaction holds is not waited for. Answers no rows.
SET @unplanned = CAST(0 AS UNSIGNED) - ((SELECT COUNT(*) FROM shard FORCE INDEX (PRIMARY)
  WHERE shard = ? AND epoch = ? AND seq = ? AND state = ? AND next_id = ? AND @@GLOBAL.read_only = 0
  FOR UPDATE SKIP LOCKED) <> 1)
