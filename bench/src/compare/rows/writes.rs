//! Durable edges, against one prepared transaction an operation with the same effect: the edge and the exact count.
//!
//! The plain client has a database server of its own, with the same settings: what it writes must not pay for the tier's reading of
//! the log. It gets as many connections as serve it best, found by trying before the rounds.

use std::sync::Arc;

use anyhow::Result;

use super::Bench;
use crate::cluster::Cluster;
use crate::compare::alternate;
use crate::measure::{Figures, Plan, closed_loop};
use crate::peers::{Database, Mode, Pages, PlainMysql, Tier};
use crate::report::{Goal, Round, Row};
use crate::say;
use crate::workloads::{Workload, Write};

const ROWS: [&str; 3] = ["write512", "write1", "added"];
const SHARDS: u32 = 64;
const CALLERS: usize = 512;
/// Connections of the plain client that are tried.
const CONNECTIONS: [usize; 6] = [4, 8, 16, 32, 64, 128];

/// Measures the rows of this group.
///
/// # Errors
/// Something can't be started or fails.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    if !bench.wants(&ROWS) {
        return Ok(());
    }
    let workload: Arc<dyn Workload> = Arc::new(Write::new(&bench.size(1_000_000, SHARDS)));
    let cluster = bench.cluster(SHARDS, true).await?;
    Database::prepare(&cluster.peer_dsn()?).await?;
    if bench.wants(&["write512"]) {
        many(bench, &cluster, &workload).await?;
    }
    if bench.wants(&["write1", "added"]) {
        one(bench, &cluster, &workload).await?;
    }
    bench.check(&cluster, "durable writes").await?;
    cluster.stop().await;
    Ok(())
}

async fn many(bench: &mut Bench, cluster: &Cluster, workload: &Arc<dyn Workload>) -> Result<()> {
    let dsn = cluster.peer_dsn()?;
    let client = cluster.client().await?;
    let (mut best, mut best_rate) = (1, 0.0);
    for connections in CONNECTIONS {
        let plan = Plan::new(bench.rounds.time / 2, bench.rounds.seed ^ connections as u64);
        let figures = plain(&dsn, workload, connections, plan).await?;
        say(&figures.line("  plain MySQL, edge and count"));
        if figures.rate > best_rate {
            (best, best_rate) = (connections, figures.rate);
        }
    }
    // The nodes have written nothing yet: windows and buffer pools open up.
    tier(&client, workload, CALLERS, Plan::new(bench.rounds.time / 2, bench.rounds.seed ^ 1)).await?;
    let rounds = alternate(
        &bench.rounds,
        "write512",
        Round::ratio,
        async |plan| Ok(tier(&client, workload, CALLERS, plan).await?.rate),
        async |plan| Ok(plain(&dsn, workload, best, plan).await?.rate),
    )
    .await?;
    let row = Row::new(
        "write512",
        "durable assoc_add without inverse, 512 callers, random ids",
        "plain client, one prepared transaction an operation",
        Goal::AtLeast(3.0),
    );
    bench.row(row.measured(rounds).note(format!(
        "the plain client with {best} connections, the best of {CONNECTIONS:?}; each side has a database server of its own, with \
         the same settings"
    )));
    Ok(())
}

async fn one(bench: &mut Bench, cluster: &Cluster, workload: &Arc<dyn Workload>) -> Result<()> {
    let dsn = cluster.peer_dsn()?;
    let client = cluster.client().await?;
    let rounds = alternate(
        &bench.rounds,
        "write1 p50",
        Round::ratio,
        async |plan| Ok(tier(&client, workload, 1, plan).await?.p50_us),
        async |plan| Ok(plain(&dsn, workload, 1, plan).await?.p50_us),
    )
    .await?;
    let added = |round: &Round| Round { value: round.ours - round.theirs.unwrap_or_default(), ..*round };
    let added: Vec<Round> = rounds.iter().map(added).collect();
    let row = Row::new(
        "write1",
        "durable assoc_add, 1 caller: median latency",
        "the plain client's transaction, 1 connection",
        Goal::AtMost(1.5),
    );
    bench.row(row.units("x", "us").measured(rounds));
    let row = Row::new(
        "added",
        "added by follower and leader to one durable write: difference of the medians",
        "the plain client's transaction, 1 connection",
        Goal::AtMost(300.0),
    );
    bench.row(row.units("us", "us").measured(added).note(
        "MySQL's part is taken to be that of the plain transaction (edge, count, commit); the tier's own transaction also \
         locks and advances the shard's row and records the request",
    ));
    Ok(())
}

async fn tier(
    client: &tao_client::Client,
    workload: &Arc<dyn Workload>,
    callers: usize,
    plan: Plan,
) -> Result<Figures> {
    closed_loop(Pages::of(Tier::callers(client, callers), workload, 1), plan).await
}

async fn plain(dsn: &str, workload: &Arc<dyn Workload>, connections: usize, plan: Plan) -> Result<Figures> {
    let callers = PlainMysql::callers(dsn, Mode::Writes, connections).await?;
    closed_loop(Pages::of(callers, workload, 1), plan).await
}
