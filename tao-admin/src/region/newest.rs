//! The topology that counts: the newest that any server of the first host group has.

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::join_all;
use tao_schema::topology::{Dsn, Topology};
use tao_shard_store::log::{ServerLog, StoredTopology};
use tao_shard_store::mysql::{MySqlStore, Options};

use super::Limits;

/// The newest topology among `file` and those that the servers of its first host group have. A server that does not answer
/// is not waited for: the others may know more than it does.
pub(super) async fn newest(file: Topology, limits: &Limits) -> Result<Topology> {
    let meta = file.host_groups.first().context("a topology without host groups")?;
    ensure!(!meta.servers.is_empty(), "the topology has no database servers: it is one for clients");
    let dsns: Vec<Dsn> = meta.servers.values().cloned().collect();
    let found = newest_of(&dsns, limits).await?.filter(|found| found.version > file.version);
    let found = found.unwrap_or_else(|| file.clone());
    ensure!(
        (&found.cluster, found.shards) == (&file.cluster, file.shards),
        "the servers hold the topology of cluster {:?} with {} shards, the file is of {:?} with {}",
        found.cluster,
        found.shards,
        file.cluster,
        file.shards
    );
    Ok(found)
}

/// The newest topology that any of the servers has.
///
/// # Errors
/// None of them answers.
pub async fn newest_of(dsns: &[Dsn], limits: &Limits) -> Result<Option<Topology>> {
    let asked = join_all(dsns.iter().map(|dsn| stored(dsn, limits))).await;
    let (mut newest, mut refusals, mut answered): (Option<Topology>, Vec<String>, bool) =
        (None, Vec::new(), false);
    for stored in asked {
        match stored {
            Ok(stored) => {
                answered = true;
                newest = newest.into_iter().chain(stored).max_by_key(|topology| topology.version);
            }
            Err(error) => refusals.push(format!("{error:#}")),
        }
    }
    ensure!(answered, "no server of the first host group answers: {}", refusals.join("; "));
    Ok(newest)
}

async fn stored(dsn: &Dsn, limits: &Limits) -> Result<Option<Topology>> {
    let store = open(dsn, limits).await?;
    let Some(stored) = store.stored_topology().await? else { return Ok(None) };
    let name = format!("topology {} of {dsn}", stored.version);
    Ok(Some(Topology::parse(&stored.toml, &name)?))
}

/// A store on a server, as leaders have.
pub(crate) async fn open(dsn: &Dsn, limits: &Limits) -> Result<MySqlStore> {
    let options = Options { connect_timeout: limits.connect, ..Options::default() };
    Ok(MySqlStore::open(dsn.expose(), options).await?)
}

/// Stores a topology on the primary of its first host group, if it is the next one there, or is there already.
pub(super) async fn store(topology: &Topology, limits: &Limits) -> Result<()> {
    let meta = topology.host_groups.first().context("a topology without host groups")?;
    let dsn = meta.servers.get(&meta.master).context("the first host group has no primary")?;
    let store = open(dsn, limits).await?;
    let stored = StoredTopology { version: topology.version, toml: topology.to_toml() };
    if store.store_topology(&stored).await? {
        return Ok(());
    }
    match store.stored_topology().await? {
        Some(there) if there == stored => Ok(()),
        there => {
            let version = there.map_or(0, |there| there.version);
            bail!(
                "the topology was changed meanwhile: {dsn} has version {version}, this is version {}; run the command again",
                topology.version
            )
        }
    }
}
