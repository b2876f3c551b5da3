-- A connection that reads mostly: each statement by itself; its few transactions begin by a statement.
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
SET SESSION autocommit = 1;
