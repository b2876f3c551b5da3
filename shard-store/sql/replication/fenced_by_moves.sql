-- Moves from here that are not over (role 1, outcome 0): shard, epoch of the fence.
SELECT shard, epoch FROM shard_move WHERE role = 1 AND outcome = 0
