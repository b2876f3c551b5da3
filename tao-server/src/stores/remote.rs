//! Database servers of other regions: a primary takes the heartbeats of leaders elsewhere, and its log is followed
//! where the region's own server is down.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tao_leader_follower::ports::RemoteDatabases;
use tao_schema::ids::HostGroupId;
use tao_schema::topology::Dsn;
use tao_shard_store::log::SharedDatabase;

use super::lazy::{LazyDatabase, Opener};
use super::{Opening, open_with};
use crate::translate::server_address;

/// Connections for heartbeats and for the rare question to another region.
const CONNECTIONS: usize = 2;

/// The servers of the topology by host group and region, each opened when it is first used. A server whose address
/// changes with the topology is opened anew.
pub struct RemoteServers {
    opening: Opening,
    servers: Mutex<HashMap<(HostGroupId, String), Known>>,
}

/// A server by the DSN that it was made with, not translated.
type Known = (Dsn, Arc<LazyDatabase>);

impl RemoteServers {
    /// Opens nothing yet.
    pub fn new(opening: Opening) -> Self {
        Self { opening, servers: Mutex::default() }
    }
}

impl RemoteDatabases for RemoteServers {
    fn server(&self, group: HostGroupId, region: &str) -> Option<SharedDatabase> {
        let dsn = {
            let cluster = self.opening.cluster.load();
            cluster.topology.host_group(group)?.servers.get(region)?.clone()
        };
        let mut servers = self.servers.lock();
        let key = (group, region.to_owned());
        if let Some((_, database)) = servers.get(&key).filter(|(known, _)| *known == dsn) {
            return Some(Arc::clone(database) as SharedDatabase);
        }
        let place = format!("host group {group} in region {region} at {}", server_address(&dsn));
        let database = Arc::new(LazyDatabase::new(place, opener(self.opening.clone(), dsn.clone())));
        servers.insert(key, (dsn, Arc::clone(&database)));
        Some(database)
    }
}

fn opener(opening: Opening, dsn: Dsn) -> Opener {
    Box::new(move || {
        let opening = opening.clone();
        let dsn = opening.translate.dsn(&dsn);
        Box::pin(async move { open_with(dsn.expose(), &opening.config, CONNECTIONS, CONNECTIONS).await })
    })
}

impl fmt::Debug for RemoteServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteServers").finish_non_exhaustive()
    }
}
