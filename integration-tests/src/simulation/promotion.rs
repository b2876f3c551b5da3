//! Another region's server becomes the primary, as an administrator makes it (R24), and the old one comes back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::Rng as _;
use tao_schema::ids::{Epoch, HostGroupId};
use tao_schema::rows::ShardState;
use tao_schema::topology::{Assignment, Topology};
use tao_shard_store::ShardStore as _;
use tao_shard_store::log::{ServerLog as _, StoredTopology};
use tao_shard_store::memory::{MemoryDatabase, MemoryStore, ReplicationOptions, ReplicationStatus};
use tao_shard_store::store::ShardRow;
use tokio::time::{sleep, timeout};

use super::world::World;

/// A step of an administrator takes at most this.
const STEP: Duration = Duration::from_secs(5);

impl World {
    /// Hands a host group over to another region: without loss while both servers answer; else with what arrived.
    /// Answers whether it did.
    pub async fn promote(self: &Arc<Self>, group: HostGroupId, region: &str, planned: bool) -> bool {
        let topology = self.topology();
        let Some(definition) = topology.host_group(group) else { return false };
        if definition.master == region {
            return false;
        }
        let (old, new) = (self.database(group, &definition.master), self.database(group, region));
        if planned && !self.arrives(&old, &new).await {
            return false;
        }
        new.forget_source();
        let to = raised(definition.epoch);
        let epochs: Vec<_> =
            owned(&topology, group).map(|it| (it.shard, it.epoch, raised(it.epoch))).collect();
        // A server that is down can't be promoted; nothing was opened then.
        if !matches!(timeout(STEP, new.open_epochs(&epochs)).await, Ok(Ok(_))) {
            self.follow(group, region, &definition.master);
            old.set_read_only(false);
            return false;
        }
        new.promote();
        let rows = MemoryStore::open(&new).shard_rows().await.unwrap_or_default();
        let text = format!("group {group} to {region}, epoch {to}, planned: {planned}");
        self.network.trace().event("promoted", &[group.0.into(), to.0.into()], || text);
        // By the newest: a move may have been released meanwhile. Nothing is waited for in between.
        let next = next_topology(&self.topology(), group, region, &rows);
        self.publish(next.clone());
        self.store_topology(&next).await;
        for other in self.plan.region_names().iter().filter(|other| *other != region) {
            if planned || *other != definition.master {
                self.follow(group, other, region);
            }
        }
        if !planned {
            self.returning.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(Arc::clone(self).return_later(group, definition.master.clone()));
        }
        true
    }

    /// The old primary is shut, and everything arrives at the new one.
    async fn arrives(&self, old: &MemoryDatabase, new: &MemoryDatabase) -> bool {
        old.set_read_only(true);
        let all = MemoryStore::open(old).executed().await;
        if let Ok(all) = all
            && timeout(STEP, new.wait_executed(&all)).await.is_ok()
        {
            return true;
        }
        old.set_read_only(false);
        false
    }

    /// A primary that was passed over is found again: it is shut, and built anew.
    async fn return_later(self: Arc<Self>, group: HostGroupId, region: String) {
        let wait = self.network.draw(|random| random.random_range(500..6_000));
        sleep(Duration::from_millis(wait)).await;
        let master = self.master(group);
        // It may be the primary again by now.
        if master != region {
            self.database(group, &region).set_read_only(true);
            self.follow(group, &region, &master);
        }
        self.returning.fetch_sub(1, Ordering::Relaxed);
    }

    /// The region of a group's primary.
    pub fn master(&self, group: HostGroupId) -> String {
        self.topology().host_group(group).map_or_else(String::new, |group| group.master.clone())
    }

    /// Makes a region's server a replica of another's; one with a history of its own is built anew (H22).
    pub fn follow(self: &Arc<Self>, group: HostGroupId, region: &str, source: &str) {
        let options = ReplicationOptions { delay: self.plan.replication_delay };
        let source = self.database(group, source);
        let replica = self.database(group, region);
        if replica.replicate(&source, options).is_err() {
            let new = self.rebuild(group, region);
            new.replicate(&source, options).expect("an empty server can follow any other");
        }
    }

    /// Every replica follows the primary, at its usual distance.
    pub fn mend_replication(self: &Arc<Self>) {
        for group in self.plan.group_ids() {
            let master = self.master(group);
            self.database(group, &master).set_read_only(false);
            for region in self.plan.region_names().iter().filter(|region| **region != master) {
                let replica = self.database(group, region);
                replica.set_replication_delay(self.plan.replication_delay);
                let running = replica.replication() == ReplicationStatus::Running;
                if !running {
                    self.follow(group, region, &master);
                }
            }
        }
    }

    /// Where nodes find it.
    pub async fn store_topology(&self, topology: &Topology) {
        let first = topology.host_groups[0].clone();
        let store = MemoryStore::open(&self.database(first.id, &first.master));
        let stored = StoredTopology { version: topology.version, toml: topology.to_toml() };
        // It may be away: then nodes learn of the topology from each other.
        let _ = timeout(STEP, store.store_topology(&stored)).await;
    }
}

/// Shards that the topology has in a group.
fn owned(topology: &Topology, group: HostGroupId) -> impl Iterator<Item = Assignment> {
    topology.all_assignments().into_iter().filter(move |place| place.host_group == group)
}

const fn raised(epoch: Epoch) -> Epoch {
    Epoch(epoch.0 + 1)
}

/// What the new primary's rows say: shards that it serves are in their epochs, those that a move has keep theirs (R25).
fn next_topology(topology: &Topology, group: HostGroupId, region: &str, rows: &[ShardRow]) -> Topology {
    let mut next = topology.clone();
    next.version += 1;
    let places: Vec<Assignment> = owned(topology, group)
        .map(|place| {
            let row = rows.iter().find(|row| row.shard == place.shard && row.state == ShardState::Serving);
            Assignment { epoch: row.map_or(place.epoch, |row| row.epoch.max(place.epoch)), ..place }
        })
        .collect();
    next.assignments.retain(|known| places.iter().all(|place| place.shard != known.shard));
    next.assignments.extend(places);
    for definition in next.host_groups.iter_mut().filter(|definition| definition.id == group) {
        definition.master = region.to_owned();
        definition.epoch = raised(definition.epoch);
    }
    next
}
