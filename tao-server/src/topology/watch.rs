//! Looking for newer topologies, as long as a node runs.
//!
//! A leader reads what its region's own server of the first host group has stored, each second, and asks the leaders of
//! every other region in turn; a follower asks the leaders of its region, and those of others while none of these
//! answers. Whoever finds the topology out of date (a write met a higher epoch, a heartbeat row says so) has all of them
//! look at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tao_schema::ids::HostGroupId;
use tao_schema::topology::Topology;
use tao_shard_store::log::{SharedDatabase, StoredTopology};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::ask::{Asking, NodeAsked};
use super::judge::Origin;
use super::state::TopologyState;
use crate::translate::Translate;

/// How often to look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WatchOptions {
    /// Between two looks at the database.
    pub database_every: Duration,
    /// How long one node is waited for, before the next of its region is asked.
    pub patience: Duration,
    /// Pause after a node or database that did not answer, and the longest between two hurried looks.
    pub pause: Duration,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            database_every: Duration::from_secs(1),
            patience: Duration::from_secs(5),
            pause: Duration::from_millis(250),
        }
    }
}

/// Who looks, and where.
pub struct Watch {
    /// What is found goes here.
    pub state: Arc<TopologyState>,
    /// The node's name.
    pub node: String,
    /// Index of its region.
    pub region: u16,
    /// A leader's databases; empty: it is a follower.
    pub databases: HashMap<HostGroupId, SharedDatabase>,
    /// Told when the topology seems to be out of date.
    pub stale: Arc<Notify>,
    /// Told when a log says that a newer one was stored.
    pub newer: Arc<Notify>,
    /// Addresses as this node sees them.
    pub translate: Translate,
    /// How often.
    pub options: WatchOptions,
}

/// Between two hurried looks, at first.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// A count that grows whenever everybody is to look at once.
type Hurry = watch::Receiver<u64>;

impl Watch {
    /// Looks until `stop`.
    pub fn spawn(self, stop: CancellationToken) {
        let watch = Arc::new(self);
        let (hurry, hurried) = watch::channel(0);
        let mut tasks: Vec<futures_util::future::BoxFuture<'static, ()>> =
            vec![Box::pin(Arc::clone(&watch).pass_on(hurry))];
        if watch.databases.is_empty() {
            tasks.push(Box::pin(Arc::clone(&watch).ask_nodes(None, hurried)));
        } else {
            tasks.push(Box::pin(Arc::clone(&watch).read_database(hurried.clone())));
            let regions = watch.state.topology().regions.len() as u16;
            // Regions that come later are known from the database; the node asks them when it is started again.
            for region in (0..regions).filter(|region| *region != watch.region) {
                tasks.push(Box::pin(Arc::clone(&watch).ask_nodes(Some(region), hurried.clone())));
            }
        }
        for task in tasks {
            let stop = stop.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = task => {}
                }
            });
        }
    }

    /// One permit wakes one task only: this one wakes all the others. A suspicion at once when that is rare, less and less
    /// often while looking finds nothing newer: a moving shard is suspected all the time, and its topology comes last.
    /// What a log says to be stored is no suspicion: writers wait for it, so nothing is waited for here.
    async fn pass_on(self: Arc<Self>, hurry: watch::Sender<u64>) {
        let mut pause = SHORTEST_PAUSE;
        loop {
            let quiet = tokio::select! {
                () = self.newer.notified() => false,
                told = tokio::time::timeout(self.options.pause, self.stale.notified()) => told.is_err(),
            };
            if quiet {
                pause = SHORTEST_PAUSE;
                tokio::select! {
                    () = self.newer.notified() => {}
                    () = self.stale.notified() => {}
                }
            }
            let before = self.state.topology().version;
            hurry.send_modify(|times| *times += 1);
            tokio::select! {
                () = self.newer.notified() => hurry.send_modify(|times| *times += 1),
                () = tokio::time::sleep(pause) => {}
            }
            let newer = self.state.topology().version > before;
            pause = if newer { SHORTEST_PAUSE } else { (pause * 2).min(self.options.pause) };
        }
    }

    async fn read_database(self: Arc<Self>, mut hurried: Hurry) {
        loop {
            let first = self.state.topology().host_groups.first().map(|group| group.id);
            if let Some(database) = first.and_then(|id| self.databases.get(&id)) {
                self.read_stored(database).await;
            }
            tokio::select! {
                () = tokio::time::sleep(self.options.database_every) => {}
                Ok(()) = hurried.changed() => {}
            }
        }
    }

    async fn read_stored(&self, database: &SharedDatabase) {
        let origin = Origin::Database("this region's database".to_owned());
        match database.stored_topology().await {
            Ok(Some(stored)) => match parse_stored(&stored) {
                Ok(theirs) => drop(self.state.offer(&theirs, &origin)),
                Err(why) => self.state.refuse(&origin, &why),
            },
            Ok(None) => self.store_first(database).await,
            // The leader says itself that a database is away.
            Err(error) => tracing::debug!(node = self.node, %error, "the stored topology can't be read"),
        }
    }

    /// A cluster that begins: a leader of the region where the first host group is mastered stores what it goes by.
    async fn store_first(&self, database: &SharedDatabase) {
        let ours = self.state.topology();
        let Some(first) = ours.host_groups.first() else { return };
        if ours.region_named(&first.master) != Some(self.region) {
            return;
        }
        let stored = StoredTopology { version: ours.version, toml: ours.to_toml() };
        match database.store_topology(&stored).await {
            Ok(true) => tracing::info!(node = self.node, version = ours.version, "topology stored"),
            // Another leader was faster: the next look compares.
            Ok(false) => {}
            Err(error) => tracing::warn!(node = self.node, %error, "the topology can't be stored yet"),
        }
    }

    /// Asks leaders in turn: those of `region`; `None`: of our own first.
    async fn ask_nodes(self: Arc<Self>, region: Option<u16>, mut hurried: Hurry) {
        let mut asking = Asking::new(self.translate.clone());
        let mut turn = 0;
        loop {
            let leaders = leaders(&self.state.topology(), region.unwrap_or(self.region), region.is_none());
            let others: Vec<&NodeAsked> = leaders.iter().filter(|node| node.name != self.node).collect();
            if others.is_empty() {
                tokio::time::sleep(self.options.patience).await;
                continue;
            }
            let node = others[turn % others.len()];
            let answered = tokio::select! {
                answered = self.ask(&mut asking, node) => answered,
                Ok(()) = hurried.changed() => true,
            };
            turn += 1;
            if !answered {
                tokio::time::sleep(self.options.pause).await;
            }
        }
    }

    /// What the node has now, then what it hears of. Answers whether the node did answer.
    async fn ask(&self, asking: &mut Asking, node: &NodeAsked) -> bool {
        let origin = Origin::Node(node.name.clone());
        for known in [false, true] {
            let newer_than = if known { self.state.topology().version } else { 0 };
            match asking.ask(node, newer_than, self.options.patience).await {
                Ok(Some(theirs)) => drop(self.state.offer(&theirs, &origin)),
                Ok(None) => {}
                Err(error) if error.code == tao_schema::ErrorCode::Corrupt => {
                    self.state.refuse(&origin, &error.message);
                    return false;
                }
                Err(error) => {
                    tracing::debug!(node = self.node, asked = node.name, %error, "no topology from there");
                    return false;
                }
            }
        }
        true
    }
}

/// Leaders of a region, and behind them those of the others if `all`.
pub(super) fn leaders(topology: &Topology, region: u16, all: bool) -> Vec<NodeAsked> {
    let own = topology.regions.iter().skip(usize::from(region)).take(1);
    let others = topology.regions.iter().enumerate().filter(|(at, _)| all && *at != usize::from(region));
    let regions = own.chain(others.map(|(_, region)| region));
    let nodes = regions.flat_map(|region| &region.leaders.nodes);
    nodes.map(|node| NodeAsked { name: node.name.clone(), address: node.address.clone() }).collect()
}

/// Reads what a database has stored.
pub(super) fn parse_stored(stored: &StoredTopology) -> Result<Topology, String> {
    let topology = Topology::parse(&stored.toml, "tao_meta").map_err(|error| error.to_string())?;
    if topology.version != stored.version {
        return Err(format!("stored as version {}, but it says {}", stored.version, topology.version));
    }
    Ok(topology)
}
