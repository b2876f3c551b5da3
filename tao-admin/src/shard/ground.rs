//! What a move stands on: the newest topology, and the servers that it names, opened.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tao_schema::ids::HostGroupId;
use tao_schema::topology::{Dsn, HostGroup, Topology};
use tao_server::translate::server_address;
use tao_shard_store::log::BeatWriter;
use tao_shard_store::mysql::{MoveBook, MySqlStore};

use super::error::{Done, Halt, MoveError};
use super::leaders::Leader;
use super::terms::MoveOptions;
use crate::region::{Limits, newest_of, open_server};

/// How a mover works, whatever it moves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long servers may take.
    pub limits: Limits,
    /// Names this worker in leases; must be its own.
    pub worker: String,
    /// A worker that says nothing for so long may be replaced.
    pub lease: Duration,
    /// Goes on when the goal is reached, until something else is ordered: keeps READY ready, and the stream back running.
    pub stay: bool,
    /// Takes a move over even if its worker may be alive.
    pub take_over: bool,
    /// How long what may pass by itself (a server that does not answer) is waited for.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            worker: format!("{}-{:08x}", std::process::id(), rand::random::<u32>()),
            lease: Duration::from_secs(10),
            stay: false,
            take_over: false,
            patience: Duration::from_secs(60),
        }
    }
}

/// A server of a host group.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) group: HostGroupId,
    pub(super) region: String,
    pub(super) address: String,
    pub(super) store: MySqlStore,
}

impl Server {
    /// For people.
    pub(super) fn place(&self) -> String {
        format!("{} (host group {} in {})", self.address, self.group, self.region)
    }
}

/// Topology and servers.
pub(super) struct Ground {
    limits: Limits,
    /// Kept only as long as nothing goes wrong: after any error all is looked up again.
    known: Mutex<Known>,
}

struct Known {
    topology: Topology,
    stores: HashMap<String, MySqlStore>,
}

impl Ground {
    /// By a topology that says where the servers are; the newest that they hold counts.
    pub(super) async fn open(file: Topology, limits: Limits) -> Done<Self> {
        let ground = Self { limits, known: Mutex::new(Known { topology: file, stores: HashMap::new() }) };
        ground.refresh().await?;
        Ok(ground)
    }

    /// The topology as it was last looked up.
    pub(super) fn topology(&self) -> Topology {
        self.known.lock().topology.clone()
    }

    /// Looks the topology up again.
    pub(super) async fn refresh(&self) -> Done<Topology> {
        let known = self.topology();
        let meta =
            known.host_groups.first().map(|group| group.servers.values().cloned().collect::<Vec<Dsn>>());
        let meta = meta.filter(|servers| !servers.is_empty()).ok_or_else(|| {
            MoveError::usage("the topology names no database servers: name a file that does, --topology FILE")
        })?;
        let found = newest_of(&meta, &self.limits).await;
        let found = found.map_err(|error| Halt::Passing(format!("{error:#}")))?;
        let newest = found.filter(|found| found.version > known.version).unwrap_or(known);
        self.known.lock().topology = newest.clone();
        Ok(newest)
    }

    /// A topology that was just stored.
    pub(super) fn learned(&self, topology: Topology) {
        let mut known = self.known.lock();
        if topology.version > known.topology.version {
            known.topology = topology;
        }
    }

    /// Forgets connections: after an error, servers may have changed their roles.
    pub(super) fn forget(&self) {
        self.known.lock().stores.clear();
    }

    /// A host group of the topology.
    pub(super) fn group(&self, id: HostGroupId) -> Result<HostGroup, MoveError> {
        let topology = self.topology();
        topology.host_group(id).cloned().ok_or_else(|| {
            let known: Vec<String> = topology.host_groups.iter().map(|group| group.id.to_string()).collect();
            MoveError::usage(format!("no host group {id}; there are {}", known.join(", ")))
        })
    }

    /// The primary of a host group, as the topology has it.
    pub(super) async fn primary(&self, id: HostGroupId) -> Done<Server> {
        let group = self.group(id)?;
        self.server(&group, &group.master).await
    }

    /// All other servers of a host group that could be promoted (H30).
    ///
    /// # Errors
    /// One of them does not answer.
    pub(super) async fn replicas(&self, id: HostGroupId, options: &MoveOptions) -> Done<Vec<Server>> {
        let group = self.group(id)?;
        let regions = group.servers.keys().filter(|region| **region != group.master);
        let mut servers = Vec::new();
        for region in regions.filter(|region| options.counts(id, region)) {
            servers.push(self.server(&group, region).await?);
        }
        Ok(servers)
    }

    /// The leaders whose admin addresses are known: by the topology, or because an operator named them.
    pub(super) fn leaders(&self, options: &MoveOptions) -> Vec<Leader> {
        let known = self.known.lock();
        let named = known.topology.regions.iter().flat_map(|region| {
            region.leaders.nodes.iter().filter_map(|node| {
                let place = format!("leader {} in {}", node.name, region.name);
                Some(Leader { place, admin: node.admin.clone()? })
            })
        });
        let mut leaders: Vec<Leader> = named.collect();
        for admin in &options.leader_admin {
            if leaders.iter().all(|leader| leader.admin != *admin) {
                leaders.push(Leader { place: format!("leader at {admin}"), admin: admin.clone() });
            }
        }
        leaders
    }

    /// Where moves are written down, and topologies stored.
    pub(super) async fn meta(&self) -> Done<Server> {
        let topology = self.topology();
        let first = topology.host_groups.first().map(|group| group.id);
        self.primary(first.ok_or_else(|| MoveError::usage("a topology without host groups"))?).await
    }

    /// The book of moves.
    pub(super) async fn book(&self) -> Done<MoveBook> {
        Ok(self.meta().await?.store.move_book())
    }

    async fn server(&self, group: &HostGroup, region: &str) -> Done<Server> {
        let dsn = group.servers.get(region).ok_or_else(|| {
            let message =
                format!("host group {} has no server in region {region:?} in the topology", group.id);
            MoveError::stopped(message)
        })?;
        let address = server_address(dsn);
        let known = self.known.lock().stores.get(dsn.expose()).cloned();
        let store = match known {
            Some(store) => store,
            None => {
                let opened = open_server(dsn, &self.limits).await;
                let place = format!("host group {} in {region}", group.id);
                let store = opened.map_err(|error| unopened(&place, &error))?;
                self.known.lock().stores.insert(dsn.expose().to_owned(), store.clone());
                store
            }
        };
        Ok(Server { group: group.id, region: region.to_owned(), address, store })
    }
}

fn unopened(place: &str, error: &anyhow::Error) -> Halt {
    match error.downcast_ref::<tao_shard_store::StoreError>() {
        Some(store) => match Halt::from(store.clone()) {
            Halt::Over(MoveError { kind, message }) => {
                Halt::Over(MoveError { kind, message: format!("{place}: {message}") })
            }
            _ => Halt::Passing(format!("{place}: {store}")),
        },
        None => Halt::Passing(format!("{place}: {error:#}")),
    }
}

/// Who writes the heartbeats of a move.
pub(super) fn beat_writer(worker: &str) -> BeatWriter {
    BeatWriter::of(&format!("mover {worker}"))
}
