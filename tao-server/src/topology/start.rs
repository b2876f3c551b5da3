//! Which topology a node begins with: that of its file, unless the cluster runs with a newer one.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use tao_schema::ids::HostGroupId;
use tao_schema::topology::Topology;
use tao_shard_store::log::{SharedDatabase, StoredTopology};
use tao_shard_store::store::StoreError;

use super::ask::Asking;
use super::judge::{Contradiction, Origin, judge_file};
use super::state::TopologyState;
use super::watch::{leaders, parse_stored};
use crate::translate::Translate;

/// How long a starting node looks for others.
const LOOK: Duration = Duration::from_secs(2);

/// Looks at the database (a leader's) and at a leader of every region, compares the node's file with the newest of what
/// they have, and puts that in force. If nobody answers, the file is all there is; the watch compares later.
///
/// # Errors
/// The file contradicts what runs: the node must not start. The message says what to do.
pub async fn first(
    state: &TopologyState,
    node: &str,
    databases: &HashMap<HostGroupId, SharedDatabase>,
    translate: &Translate,
) -> Result<(), Contradiction> {
    let file = state.topology();
    let stored = async {
        let database = databases.get(&file.host_groups.first()?.id)?;
        let stored = tokio::time::timeout(LOOK, database.stored_topology()).await.ok()?.ok()??;
        let topology = parse_stored(&stored).inspect_err(|why| tracing::error!("tao_meta: {why}")).ok()?;
        Some((Origin::Database("this region's database".to_owned()), topology))
    };
    let asked = (0..file.regions.len() as u16).map(|region| ask_region(&file, region, node, translate));
    let (stored, asked) = tokio::join!(stored, join_all(asked));
    // The database before nodes, of one version: it has the servers' addresses.
    let mut newest: Option<(Origin, Topology)> = None;
    for (origin, topology) in stored.into_iter().chain(asked.into_iter().flatten()) {
        if newest.as_ref().is_none_or(|(_, best)| topology.version > best.version) {
            newest = Some((origin, topology));
        }
    }
    if let Some((origin, running)) = newest {
        judge_file(&file, &running, &origin)?;
        state.offer(&running, &origin);
    }
    Ok(())
}

/// The topology of one leader of a region, the first that answers.
async fn ask_region(
    file: &Topology,
    region: u16,
    node: &str,
    translate: &Translate,
) -> Option<(Origin, Topology)> {
    let asking = async {
        for leader in leaders(file, region, false).into_iter().filter(|leader| leader.name != node) {
            if let Ok(Some(topology)) = Asking::new(translate.clone()).ask(&leader, 0, LOOK).await {
                return Some((Origin::Node(leader.name), topology));
            }
        }
        None
    };
    tokio::time::timeout(LOOK, asking).await.ok().flatten()
}

/// The topology for a cluster that is laid out anew around its old databases (other ports, as in `tao dev`): as asked,
/// but with the masters, epochs and places that the databases have got to, and one version on.
///
/// # Errors
/// The databases are of another cluster.
pub fn laid_out_anew(asked: Topology, last: Option<&Topology>) -> Result<Topology, LayoutError> {
    let Some(last) = last else { return Ok(asked) };
    let regions =
        |topology: &Topology| topology.regions.iter().map(|region| region.name.clone()).collect::<Vec<_>>();
    if (&last.cluster, last.shards, regions(last)) != (&asked.cluster, asked.shards, regions(&asked)) {
        return Err(LayoutError::Other(format!(
            "cluster \"{}\" of {} shards in {}",
            last.cluster,
            last.shards,
            regions(last).join(", ")
        )));
    }
    let mut next = asked;
    next.assignments.clone_from(&last.assignments);
    for group in &mut next.host_groups {
        if let Some(known) = last.host_group(group.id) {
            group.master.clone_from(&known.master);
            (group.epoch, group.mode) = (known.epoch, known.mode);
        }
    }
    next.version = last.version;
    if next != *last {
        next.version += 1;
    }
    Ok(next)
}

/// What a database has stored, read.
///
/// # Errors
/// It does not answer, or what it holds is no topology.
pub async fn stored(database: &SharedDatabase) -> Result<Option<Topology>, LayoutError> {
    let Some(stored) = database.stored_topology().await? else { return Ok(None) };
    parse_stored(&stored).map(Some).map_err(LayoutError::Unreadable)
}

/// Stores a topology, unless it is there already.
///
/// # Errors
/// The database does not answer, or has another one of this version.
pub async fn store(topology: &Topology, database: &SharedDatabase) -> Result<(), LayoutError> {
    let new = StoredTopology { version: topology.version, toml: topology.to_toml() };
    if database.store_topology(&new).await? || stored(database).await?.as_ref() == Some(topology) {
        return Ok(());
    }
    Err(LayoutError::Raced)
}

/// Why a topology could not be read from a database, or stored in it.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is stored is no topology.
    #[error("the stored topology can't be read: {0}")]
    Unreadable(String),
    /// The databases are of another cluster.
    #[error("the databases hold {0}: start with the same, or take other databases")]
    Other(String),
    /// Somebody stored another version meanwhile.
    #[error(
        "the stored topology has changed meanwhile: look at it with `tao topology show`, and begin again"
    )]
    Raced,
}
