//! The database servers of several regions, and a look at them past the tier.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};
use tao_schema::ids::{HostGroupId, ObjectId, ShardId};
use tao_schema::topology::Placement;

use super::{Regions, RegionsOptions, links, region_name};
use crate::faults::{Network, Place};
use crate::servers::{Servers, ServersOptions, Source};

const OBJECT_VERSION: &str = include_str!("../../sql/object_version.sql");

/// Starts all servers, and replication from the master of each group through the links.
pub(super) async fn start(
    source: &Source,
    options: &RegionsOptions,
    network: &mut Network,
) -> Result<Servers> {
    let wanted = ServersOptions {
        groups: options.groups,
        places: options.regions,
        mode: options.mode,
        disk_bytes: options.disk_bytes,
        clocks: options.clocks,
    };
    let servers = Servers::start(source, wanted).await.context("start the database servers")?;
    links::between_servers(network, &servers, options).await?;
    if options.regions > 1 {
        let primaries: Vec<usize> = (0..options.groups).map(|group| master(options, group)).collect();
        let through = |group: usize, region: usize| {
            let link = network.link(&place(group, region), &place(group, primaries[group]))?;
            Some(link.address())
        };
        servers.replicate(&primaries, &through).await.context("set up replication")?;
    }
    Ok(servers)
}

/// The server of a group in a region, as faults name it.
pub(crate) fn place(group: usize, region: usize) -> Place {
    Place::server(group as u16 + 1, region_name(region))
}

/// The index of a group's first master region.
pub(super) fn master(options: &RegionsOptions, group: usize) -> usize {
    options.masters.get(group).or(options.masters.last()).copied().unwrap_or_default()
}

/// Connections to all databases of one region, past the tier.
pub struct Databases {
    placement: Placement,
    by_group: BTreeMap<HostGroupId, Database>,
}

/// A connection to the database of one host group in one region.
pub struct Database(Conn);

impl Regions {
    /// Connects to the databases of a region, without any delay.
    ///
    /// # Errors
    /// One of them does not answer.
    pub async fn connect_region(&self, region: &str) -> Result<Databases> {
        let mut by_group = BTreeMap::new();
        for group in &self.topology.host_groups {
            let dsn = group.servers.get(region).with_context(|| format!("no server in {region}"))?;
            let opts = Opts::from_url(dsn.expose()).context("the DSN of a server")?;
            by_group.insert(group.id, Database(Conn::new(opts).await?));
        }
        Ok(Databases { placement: Placement::compute(&self.topology), by_group })
    }
}

impl Databases {
    /// The database that holds a shard.
    ///
    /// # Errors
    /// There is no such shard.
    pub fn of(&mut self, shard: ShardId) -> Result<&mut Database> {
        let (group, _) = self.placement.host_group(shard).context("no such shard")?;
        self.by_group.get_mut(&group).context("no such host group")
    }
}

impl Database {
    /// Asks again and again until an object has a version; when it had.
    ///
    /// # Errors
    /// It has not within the limit.
    pub async fn wait_version(&mut self, id: ObjectId, version: u64, limit: Duration) -> Result<Instant> {
        let began = Instant::now();
        loop {
            let found: Option<u64> = self.0.exec_first(OBJECT_VERSION, (id.0,)).await?;
            if found.is_some_and(|found| found >= version) {
                return Ok(Instant::now());
            }
            ensure!(began.elapsed() < limit, "{id} has not version {version} after {limit:?}");
        }
    }
}
