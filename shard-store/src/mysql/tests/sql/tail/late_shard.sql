INSERT INTO shard (shard, epoch, seq, state, next_id) VALUES (65535, 4294967294, 18446744073709551612, 1, 1)
