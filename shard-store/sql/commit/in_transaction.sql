-- MariaDB only. Behind a failure of commit_block.sql: a transaction that is still open was not committed (R4).
SELECT @@in_transaction
