-- Plain insert: a row that exists already would mean two writers of one seq, and must fail (error 1062).
INSERT INTO request (shard, seq, epoch, nonce, at, outcomes) VALUES {(?, ?, ?, ?, ?, ?)}
