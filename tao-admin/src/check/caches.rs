//! Cached entries against the database.

use std::time::Duration;

use anyhow::{Context, Result};
use tao_schema::ids::{Seq, ShardId};
use tao_schema::wire::proto::cached_entry::{Key, Row};
use tao_schema::wire::proto::{self, CachedEntry, fill_reply, fill_request};

use super::nodes::{Node, Nodes};
use super::report::Report;

/// Entries compared in one call.
const BATCH: usize = 128;
/// Times that an entry which differs is looked at again before it counts.
const ATTEMPTS: u32 = 25;
/// Pause between them. A node that has not caught up after all of them is a difference, too.
const PAUSE: Duration = Duration::from_millis(200);

/// Compares what every node holds of `shard` with the database.
pub async fn check(nodes: &Nodes, shard: ShardId) -> Result<Report> {
    let mut report = Report::default();
    for node in nodes.iter() {
        let entries = node.dump(shard).await?;
        for batch in entries.chunks(BATCH) {
            let rows = read(nodes, shard, batch).await?;
            for (entry, row) in batch.iter().zip(rows) {
                report.cached_entries += 1;
                if let Some(Row::ListRow(list)) = &entry.row {
                    report.cached_edges += list.edges.as_ref().map_or(0, |edges| edges.count() as u64);
                }
                if compare(entry, &row) != Verdict::Equal {
                    report.compared_again += 1;
                    if let Some(detail) = look_again(nodes, node, shard, entry).await? {
                        report.differs("cache", &node.name, key_name(entry), detail);
                    }
                }
            }
        }
    }
    Ok(report)
}

#[derive(PartialEq, Eq, Debug)]
enum Verdict {
    Equal,
    /// The entry does not claim to be as new as the snapshot: nothing follows.
    Older,
    Differs(String),
}

/// Looks at one entry until it can be judged: `None` if it is right (or gone), else what is wrong.
async fn look_again(
    nodes: &Nodes,
    node: &Node,
    shard: ShardId,
    entry: &CachedEntry,
) -> Result<Option<String>> {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        tokio::time::sleep(PAUSE).await;
        // First the database, then the cache, then the database again: if both snapshots agree, and the entry claims
        // to be as new as the first, it must equal them.
        let before = read_one(nodes, shard, entry).await?;
        let Some(now) = node.dump(shard).await?.into_iter().find(|found| found.key == entry.key) else {
            return Ok(None);
        };
        let after = read_one(nodes, shard, entry).await?;
        if before.row != after.row {
            continue;
        }
        match compare(&now, &before) {
            Verdict::Equal => return Ok(None),
            Verdict::Older => last = "never caught up with the database".to_owned(),
            Verdict::Differs(detail) => return Ok(Some(detail)),
        }
    }
    Ok(Some(if last.is_empty() {
        "kept changing: run the check again when fewer writes come in".to_owned()
    } else {
        last
    }))
}

fn compare(entry: &CachedEntry, reply: &proto::FillReply) -> Verdict {
    let claims = entry.position.map_or(0, |position| position.seq);
    let snapshot = reply.position.map_or(0, |position| position.seq);
    let (equal, version) = match (&entry.row, &reply.row) {
        (Some(Row::ObjectRow(cached)), Some(fill_reply::Row::Object(stored))) => {
            (cached == stored, cached.object.as_ref().map_or(0, |object| object.version))
        }
        (Some(Row::ListRow(cached)), Some(fill_reply::Row::List(stored))) => {
            (same_list(cached, stored), cached.version)
        }
        _ => (false, 0),
    };
    if equal {
        return Verdict::Equal;
    }
    if claims < snapshot {
        return Verdict::Older;
    }
    Verdict::Differs(format!(
        "cached version {version}, claimed right at {claims}: {}; database at {snapshot}: {}",
        describe_cached(entry),
        describe_stored(reply)
    ))
}

/// A cached list holds the newest edges: what it holds must be what the database has in front.
fn same_list(cached: &proto::ListRow, stored: &proto::ListRow) -> bool {
    let empty = tao_schema::edges::PackedEdges::new();
    let cached_edges = cached.edges.as_ref().unwrap_or(&empty);
    let stored_edges = stored.edges.as_ref().unwrap_or(&empty);
    cached.count == stored.count
        && cached.version == stored.version
        && stored_edges.range(0, cached_edges.count()) == *cached_edges
}

async fn read(nodes: &Nodes, shard: ShardId, entries: &[CachedEntry]) -> Result<Vec<proto::FillReply>> {
    let keys = entries.iter().map(fill_key).collect::<Result<Vec<_>>>()?;
    let rows = nodes.read(shard, keys, &[]).await?.row;
    anyhow::ensure!(
        rows.len() == entries.len(),
        "a leader answered {} rows for {} keys",
        rows.len(),
        entries.len()
    );
    Ok(rows)
}

async fn read_one(nodes: &Nodes, shard: ShardId, entry: &CachedEntry) -> Result<proto::FillReply> {
    read(nodes, shard, std::slice::from_ref(entry)).await?.pop().context("a leader answered no row")
}

fn fill_key(entry: &CachedEntry) -> Result<proto::FillRequest> {
    let edges = match &entry.row {
        Some(Row::ListRow(list)) => list.edges.as_ref().map_or(0, |edges| edges.count() as u32),
        _ => 0,
    };
    let key = match entry.key.context("a node dumped an entry without a key")? {
        Key::Object(id) => fill_request::Key::Object(id),
        Key::List(list) => fill_request::Key::List(list),
    };
    Ok(proto::FillRequest { key: Some(key), edges, at_least: None })
}

fn key_name(entry: &CachedEntry) -> String {
    match &entry.key {
        Some(Key::Object(id)) => format!("object {id}"),
        Some(Key::List(list)) => format!("list ({}, {})", list.id1, list.atype),
        None => "no key".to_owned(),
    }
}

fn describe_cached(entry: &CachedEntry) -> String {
    match &entry.row {
        Some(Row::ObjectRow(object)) => describe_object(object),
        Some(Row::ListRow(list)) => describe_list(list),
        None => "nothing".to_owned(),
    }
}

fn describe_stored(reply: &proto::FillReply) -> String {
    match &reply.row {
        Some(fill_reply::Row::Object(object)) => describe_object(object),
        Some(fill_reply::Row::List(list)) => describe_list(list),
        None => "nothing".to_owned(),
    }
}

fn describe_object(object: &proto::ObjectResult) -> String {
    match &object.object {
        Some(object) => format!("version {}", object.version),
        None => "absent".to_owned(),
    }
}

fn describe_list(list: &proto::ListRow) -> String {
    let edges = list.edges.as_ref().map_or(0, tao_schema::edges::PackedEdges::count);
    format!("version {}, count {}, {edges} edges", Seq(list.version), list.count)
}
