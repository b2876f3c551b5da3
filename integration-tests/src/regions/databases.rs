//! The database servers of several regions, and a look at them past the tier.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};
use tao_schema::ids::{HostGroupId, ObjectId, ShardId};
use tao_schema::topology::{Dsn, Placement};
use tao_shard_store::fleet::{Fleet, FleetOptions, Server, ServerBinary, can_mount, clock_library};

use super::{Regions, RegionsOptions, links, region_name};
use crate::faults::{Network, Place};

const OBJECT_VERSION: &str = include_str!("../../sql/object_version.sql");

/// Starts all servers, and replication from the master of each group through the links.
pub(super) async fn start(
    binary: ServerBinary,
    options: &RegionsOptions,
    network: &mut Network,
) -> Result<Fleet> {
    let fleet = FleetOptions {
        replicas: options.regions - 1,
        mode: options.mode,
        // Where that is not possible, the fault says so.
        disk_bytes: options.disk_bytes.filter(|_| can_mount().is_ok()),
        clock_library: clock_library().filter(|_| options.clocks),
        ..FleetOptions::new(binary, options.groups)
    };
    let fleet = Fleet::start(fleet).await.context("start the database servers")?;
    links::between_servers(network, &fleet, options).await?;
    if options.regions > 1 {
        let primaries: Vec<usize> = (0..options.groups).map(|group| master(options, group)).collect();
        let through = |group: usize, region: usize| {
            let primary = fleet.server(group, primaries[group])?;
            let link = network.link(&place_of(group, region), &place(primary))?;
            Some(link.address())
        };
        fleet.replicate(&primaries, &through).await.context("set up replication")?;
    }
    Ok(fleet)
}

/// The server as faults name it.
pub(super) fn place(server: &Server) -> Place {
    place_of(server.group(), server.replica())
}

fn place_of(group: usize, region: usize) -> Place {
    Place::server(group as u16 + 1, region_name(region))
}

/// The index of a group's first master region.
pub(super) fn master(options: &RegionsOptions, group: usize) -> usize {
    options.masters.get(group).or(options.masters.last()).copied().unwrap_or_default()
}

pub(super) fn address(server: &Server) -> String {
    format!("127.0.0.1:{}", server.port())
}

/// The DSN of a group's server in a region.
pub(super) fn dsn(fleet: &Fleet, group: usize, region: usize) -> Result<Dsn> {
    let server =
        fleet.server(group, region).with_context(|| format!("no server {group} in region {region}"))?;
    Ok(Dsn::new(server.dsn().expose()))
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
            let opts = Opts::from_url(dsn.expose()).context("the DSN of a private server")?;
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
