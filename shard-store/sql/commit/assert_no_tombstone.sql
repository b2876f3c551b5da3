-- Ends the text (error 1690) if there is such a row. Answers no rows.
SET @unplanned = CAST(0 AS UNSIGNED) - EXISTS (SELECT 1 FROM tombstone WHERE id1 = ? AND atype = ? AND id2 = ?)
