-- Fails (error 1690, a number below zero) if the statement before it affected another number of rows than this: of a text of several
-- statements the server then runs none behind it, COMMIT least of all. Answers no rows.
SET @unplanned = CAST(0 AS UNSIGNED) - (ROW_COUNT() <> ?)
