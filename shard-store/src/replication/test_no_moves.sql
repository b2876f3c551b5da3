DROP TABLE shard_move
