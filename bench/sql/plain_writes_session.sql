-- A connection that writes: its statements are one transaction until the COMMIT, without a round trip for its beginning.
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
SET SESSION autocommit = 0;
