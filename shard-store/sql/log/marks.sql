-- Oldest first, each with the newest time that is known here: ages are differences of one clock, the primary's.
SELECT at, position, (SELECT COALESCE(MAX(at), 0) FROM heartbeat) FROM log_mark ORDER BY at
