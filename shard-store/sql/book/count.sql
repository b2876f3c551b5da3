-- Above what was given away, and above what a server remembers that outlived a lost counter.
UPDATE `{database}_meta`.move_counter SET last = LAST_INSERT_ID(GREATEST(last, CAST(? AS UNSIGNED)) + 1)
WHERE one = 1 AND @@GLOBAL.read_only = 0
