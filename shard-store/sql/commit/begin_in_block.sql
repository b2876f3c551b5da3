-- MariaDB only. At the head of a block that is a whole transaction: whatever fails before its COMMIT leaves a transaction open, the
-- first statement, too, and so is told from a COMMIT that failed (R4).
START TRANSACTION
