//! What a server has that its group's primary lacks: writes that a failover lost, one by one.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tao_schema::ids::{AssocType, ObjectId};
use tao_schema::rows::{ChangeItem, ShardChange};
use tao_schema::topology::Dsn;
use tao_shard_store::log::{LogPosition, ServerLog, TailEvent, TailStart};

use super::Limits;
use super::newest::open;

/// Writes that are listed; more are counted.
const LISTED: usize = 100_000;
/// The log is there: it takes as long as it takes to read it.
const QUIET: Duration = Duration::from_secs(30);

/// What only one server has.
#[derive(Clone, Debug, Serialize)]
pub struct Loss {
    /// Its transactions, as the server names them.
    pub transactions: String,
    /// Number of those.
    pub transaction_count: u64,
    /// Number of writes to shards in them; the rest were heartbeats and the like.
    pub write_count: u64,
    /// The writes, at most 100,000 of them.
    pub writes: Vec<LostWrite>,
    /// Heartbeats among the transactions.
    pub heartbeats: u64,
}

/// A transaction's part on one shard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LostWrite {
    /// The shard.
    pub shard: u16,
    /// Its epoch.
    pub epoch: u32,
    /// Its place in the shard's log.
    pub seq: u64,
    /// Objects that it wrote or deleted.
    pub objects: Vec<LostObject>,
    /// Lists that it changed.
    pub lists: Vec<LostList>,
}

/// An object of a lost write.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LostObject {
    /// The object.
    pub id: ObjectId,
    /// Whether it was deleted.
    pub deleted: bool,
}

/// A list of a lost write.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LostList {
    /// Whose list.
    pub id1: ObjectId,
    /// Of which type.
    pub atype: AssocType,
    /// Edges that were written.
    pub put: Vec<ObjectId>,
    /// Edges that were deleted.
    pub deleted: Vec<ObjectId>,
}

/// Reads `extra`, which is part of `has`, all that the server executed, from the server's log.
pub(super) async fn read(dsn: &Dsn, has: &LogPosition, extra: &LogPosition, limits: &Limits) -> Result<Loss> {
    let mut loss = Loss {
        transactions: extra.to_string(),
        transaction_count: extra.len(),
        write_count: 0,
        writes: Vec::new(),
        heartbeats: 0,
    };
    let store = open(dsn, limits).await?;
    let mut tail = store
        .open_tail(TailStart::After(has.without(extra)))
        .await
        .with_context(|| format!("the log of {dsn} can't be read, so what was lost can't be listed"))?;
    while !tail.position().covers(has) {
        let Ok(events) = tokio::time::timeout(QUIET, tail.next()).await else {
            bail!("{dsn}: its log ends before {has}, at {}", tail.position());
        };
        for event in events? {
            match event {
                TailEvent::Change { change, .. } => {
                    loss.write_count += 1;
                    if loss.writes.len() < LISTED {
                        loss.writes.push(write(&change));
                    }
                }
                TailEvent::Beat { .. } => loss.heartbeats += 1,
                TailEvent::Epoch { .. } | TailEvent::Topology { .. } => {}
            }
        }
    }
    Ok(loss)
}

fn write(change: &ShardChange) -> LostWrite {
    let (mut objects, mut lists) = (Vec::new(), Vec::new());
    for item in &change.items {
        match item {
            ChangeItem::Object { id, row } => objects.push(LostObject { id: *id, deleted: row.is_none() }),
            ChangeItem::List(list) => {
                let ids = |there: bool| {
                    let edges = list.edges.iter().filter(move |(_, value)| value.is_some() == there);
                    edges.map(|(id2, _)| *id2).collect()
                };
                lists.push(LostList {
                    id1: list.key.id1,
                    atype: list.key.atype,
                    put: ids(true),
                    deleted: ids(false),
                });
            }
        }
    }
    LostWrite { shard: change.shard.0, epoch: change.epoch.0, seq: change.seq.0, objects, lists }
}
