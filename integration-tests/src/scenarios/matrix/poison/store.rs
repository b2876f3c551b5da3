//! What an administrator should not do to the databases. The leaders that read the log must notice (R9), in both regions,
//! and go on when it is over.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};
use tao_schema::ids::{ObjectId, ObjectType};

use super::{Ground, Outcome};
use crate::history::Invariant;
use crate::regions::Regions;

const ROW: &str = include_str!("../../../../sql/row_without_version.sql");
const ROW_UNDO: &str = include_str!("../../../../sql/row_without_version_undo.sql");
const DEFINITION: &str = include_str!("../../../../sql/definition.sql");
const DEFINITION_UNDO: &str = include_str!("../../../../sql/definition_undo.sql");
/// Numbers of objects that nobody else writes.
const STRANGE: u32 = 4_000_000;
/// Between two looks at the alarms.
const LOOK: Duration = Duration::from_millis(100);
/// An alarm that is not there after this does not come.
const NOTICED: Duration = Duration::from_secs(15);

/// A row without its shard row.
pub(super) async fn row_without_version(ground: &Ground<'_>, hold: Duration) -> Result<Outcome> {
    let id = ObjectId::named(ObjectType(2), STRANGE + ground.number, ground.cluster.shards());
    run(ground, hold, (ROW, vec![id.0]), (ROW_UNDO, vec![id.0]), id).await
}

/// A change of a table's definition.
pub(super) async fn definition(ground: &Ground<'_>, hold: Duration) -> Result<Outcome> {
    let id = ObjectId::named(ObjectType(2), STRANGE, ground.cluster.shards());
    run(ground, hold, (DEFINITION, Vec::new()), (DEFINITION_UNDO, Vec::new()), id).await
}

type Statement = (&'static str, Vec<u64>);

async fn run(
    ground: &Ground<'_>,
    hold: Duration,
    poison: Statement,
    undo: Statement,
    id: ObjectId,
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let masters = ground.cluster.masters()?;
    let master = ground.cluster.master_of(id.shard(), &masters).context("a shard of the cluster")?;
    let region = ground.cluster.topology().regions.get(master).context("a region")?.name.clone();
    let mut database = connect(ground.cluster, &region, id).await?;
    let leaders = leaders(ground.cluster);
    let mut before = Vec::new();
    for leader in &leaders {
        before.push(alarms(ground.cluster, leader).await?);
    }
    let (text, values) = poison;
    database.exec_drop(text, values).await?;
    outcome.injected += 1;
    for (leader, before) in leaders.iter().zip(before) {
        // What it can't understand it must not pass over: its caches would be wrong for ever, and nobody would know.
        let noticed = async {
            while alarms(ground.cluster, leader).await? <= before {
                tokio::time::sleep(LOOK).await;
            }
            anyhow::Ok(())
        };
        match tokio::time::timeout(NOTICED, noticed).await {
            Ok(seen) => {
                seen?;
                outcome.checked.push((Invariant::I4, 1));
            }
            Err(_) => {
                outcome.wrong(Invariant::I4, format!("{leader} has not noticed within {NOTICED:?}: {text}"));
            }
        }
    }
    tokio::time::sleep(hold).await;
    let (text, values) = undo;
    database.exec_drop(text, values).await?;
    Ok(outcome)
}

/// The primary that holds an object, past the tier.
async fn connect(cluster: &Regions, region: &str, id: ObjectId) -> Result<Conn> {
    let topology = cluster.topology();
    let group = topology.assignment(id.shard()).context("a shard of the cluster")?.host_group;
    let group = topology.host_groups.iter().find(|known| known.id == group).context("a host group")?;
    let dsn = group.servers.get(region).context("a server of the master region")?;
    Ok(Conn::new(Opts::from_url(dsn.expose()).context("the DSN of a private server")?).await?)
}

fn leaders(cluster: &Regions) -> Vec<String> {
    let tiers = cluster.topology().tiers().filter(|(tier, _)| tier.tier == 0);
    tiers.flat_map(|(_, tier)| &tier.nodes).map(|node| node.name.clone()).collect()
}

/// How often a leader has said that it does not understand its log.
async fn alarms(cluster: &Regions, leader: &str) -> Result<u64> {
    let metrics =
        metrics(&admin_address(cluster, leader)?).await.with_context(|| format!("/metrics of {leader}"))?;
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    let alarms = lines.filter(|line| line.contains("alarms_total") && line.contains("not_understood"));
    Ok(alarms.filter_map(|line| line.split_whitespace().last()?.parse::<f64>().ok()).sum::<f64>() as u64)
}

/// As the node's own configuration says.
fn admin_address(cluster: &Regions, node: &str) -> Result<String> {
    let config = std::fs::read_to_string(cluster.folder().join(format!("{node}.toml")))?;
    let line = config.lines().find_map(|line| line.strip_prefix("admin_listen = "));
    Ok(line.context("a node has an admin address")?.trim_matches('"').to_owned())
}

async fn metrics(admin: &str) -> Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(admin).await?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(
        answer.starts_with("HTTP/1.") && answer.contains(" 200 "),
        "{}",
        answer.lines().next().unwrap_or("")
    );
    Ok(answer)
}
