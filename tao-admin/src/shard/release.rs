//! RELEASE: the topology learns who serves, and in which epoch.

use tao_schema::ids::{Epoch, HostGroupId, ShardId};
use tao_schema::rows::ShardState;
use tao_schema::topology::{Assignment, Topology};
use tao_server::topology::check_step;
use tao_shard_store::log::{ServerLog, StoredTopology};
use tao_shard_store::moves::ShardMover;

use super::error::{Done, Halt, MoveError};
use super::ground::Server;
use super::worker::Worker;

/// How often another may be faster.
const TRIES: usize = 50;

impl Worker<'_> {
    /// Stores a topology in which `group` has the shard, in the epoch that its row shows, if that is higher than what the newest
    /// topology has. The caller has seen to it that every replica of the group that could be promoted has that row.
    pub(super) async fn release(&self, group: HostGroupId) -> Done<Epoch> {
        let primary = self.primary(group).await?;
        for _ in 0..TRIES {
            let row = primary.store.shard_moves(self.shard).await?.row;
            let serving = row.filter(|row| row.state == ShardState::Serving);
            let epoch = serving.map(|row| row.epoch).ok_or_else(|| {
                Halt::LookAgain(format!(
                    "shard {} is {:?} in host group {group}",
                    self.shard,
                    row.map(|row| row.state)
                ))
            })?;
            // The newest each time: what another stored meanwhile stays, and a higher epoch than ours, too. The server that stores
            // the next one says what that is: an old primary stores none.
            let meta = self.ground.meta().await?;
            let last = newest(&meta).await?;
            let Some(next) = released(&last, self.shard, group, epoch) else { return Ok(epoch) };
            check_step(&last, &next).map_err(|wrong| {
                MoveError::stopped(format!(
                    "shard {}: the topology can't name who serves it: {wrong}",
                    self.shard
                ))
            })?;
            let stored = StoredTopology { version: next.version, toml: next.to_toml() };
            if meta.store.store_topology(&stored).await? {
                self.ground.learned(next);
                return Ok(epoch);
            }
        }
        Err(Halt::Passing(format!("the topology was changed by others {TRIES} times in a row")))
    }
}

async fn newest(meta: &Server) -> Done<Topology> {
    let stored = meta.store.stored_topology().await?;
    let stored = stored.ok_or_else(|| MoveError::stopped(format!("{}: holds no topology", meta.place())))?;
    Topology::parse(&stored.toml, &format!("topology of {}", meta.address))
        .map_err(|error| MoveError::stopped(error.to_string()).into())
}

/// The next topology; `None`: the newest says so already, or knows better.
fn released(last: &Topology, shard: ShardId, group: HostGroupId, epoch: Epoch) -> Option<Topology> {
    if last.assignment(shard).is_some_and(|place| place.epoch >= epoch) {
        return None;
    }
    let mut next = last.clone();
    next.version += 1;
    next.assignments.retain(|place| place.shard != shard);
    next.assignments.push(Assignment { shard, host_group: group, epoch });
    next.assignments.sort_by_key(|place| place.shard);
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_goes_only_to_a_higher_epoch() {
        let text = "version = 4\ncluster = \"t\"\nshards = 4\n[[regions]]\nname = \"r\"\nleaders = { name = \"l\", nodes = \
                    [{ name = \"l1\", address = \"127.0.0.1:1\" }] }\n[[host_groups]]\nid = 1\nmaster = \"r\"\n\
                    [[host_groups]]\nid = 2\nmaster = \"r\"\n";
        let first = Topology::parse(text, "t").unwrap();
        let there = released(&first, ShardId(2), HostGroupId(2), Epoch(2)).unwrap();
        assert_eq!((there.version, there.assignment(ShardId(2)).unwrap().host_group), (5, HostGroupId(2)));
        assert_eq!(there.assignment(ShardId(1)), first.assignment(ShardId(1)), "other shards stay");
        check_step(&first, &there).unwrap();
        assert_eq!(
            released(&there, ShardId(2), HostGroupId(1), Epoch(2)),
            None,
            "a late one of the same epoch"
        );
        assert_eq!(released(&there, ShardId(2), HostGroupId(1), Epoch(1)), None, "an older one");
        let back = released(&there, ShardId(2), HostGroupId(1), Epoch(3)).unwrap();
        assert_eq!(back.assignments.len(), 1);
    }
}
