-- MariaDB only. Rows and COMMIT as one statement: as several, each has an answer of its own, and each answer wakes the client
-- between two statements. The first that fails ends it. The place is for statements, not for a value.
BEGIN NOT ATOMIC
?;
COMMIT;
END
