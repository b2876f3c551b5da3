//! Cached entries against the database.

use std::time::Duration;

use anyhow::{Context, Result};
use prost::Message as _;
use tao_schema::ids::{Seq, ShardId};
use tao_schema::planted::{Bug, planted};
use tao_schema::wire::proto::cached_entry::{Key, Row};
use tao_schema::wire::proto::{self, CachedEntry, fill_reply, fill_request};

use super::nodes::{Node, Nodes, batches};
use super::report::Report;

/// Times that an entry which differs is looked at again before it counts.
const ATTEMPTS: u32 = 25;
/// Pause between them. A node that has not caught up after all of them is a difference, too.
const PAUSE: Duration = Duration::from_millis(200);

/// Compares what every node holds of `shard` with the database.
pub async fn check(nodes: &Nodes, shard: ShardId) -> Result<Report> {
    let mut report = Report::default();
    for node in nodes.iter() {
        let entries = node.dump(shard).await?;
        for batch in batches(&entries, |entry| entry.encoded_len()) {
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
    /// The entry claims to be newer than the snapshot: a write's answer came back before replication did, or the
    /// database lost something.
    Ahead,
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
    let mut asked = entry.clone();
    for _ in 0..ATTEMPTS {
        tokio::time::sleep(PAUSE).await;
        // First the database, then the cache, then the database again: if both snapshots agree, and the entry claims
        // to be as new as the first, it must equal them.
        let before = read_one(nodes, shard, &asked).await?;
        let Some(now) = node.dump(shard).await?.into_iter().find(|found| found.key == entry.key) else {
            return Ok(None);
        };
        if held_edges(&now) > held_edges(&asked) {
            // It has grown meanwhile: the database was asked for fewer edges than it holds now.
            asked = now;
            continue;
        }
        let after = read_one(nodes, shard, &asked).await?;
        if before.row != after.row {
            continue;
        }
        match compare(&now, &before) {
            Verdict::Equal => return Ok(None),
            Verdict::Older => last = "never caught up with the database".to_owned(),
            Verdict::Ahead => last = "claims what this region's database never got".to_owned(),
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
            (same_object(cached, stored), cached.object.as_ref().map_or(0, |object| object.version))
        }
        (Some(Row::ListRow(cached)), Some(fill_reply::Row::List(stored))) => {
            (same_list(cached, stored), cached.version)
        }
        _ => (false, 0),
    };
    if equal || planted(Bug::CheckComparesNothing) {
        return Verdict::Equal;
    }
    if claims < snapshot {
        return Verdict::Older;
    }
    if claims > snapshot {
        return Verdict::Ahead;
    }
    Verdict::Differs(format!(
        "cached version {version}, claimed right at {claims}: {}; database at {snapshot}: {}",
        describe_cached(entry),
        describe_stored(reply)
    ))
}

/// Ids are left out: a fill does not repeat the id that it was asked for.
fn same_object(cached: &proto::ObjectResult, stored: &proto::ObjectResult) -> bool {
    match (&cached.object, &stored.object) {
        (Some(cached), Some(stored)) => {
            (cached.otype, cached.version, &cached.fields) == (stored.otype, stored.version, &stored.fields)
        }
        (None, None) => true,
        _ => false,
    }
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

fn held_edges(entry: &CachedEntry) -> u32 {
    match &entry.row {
        Some(Row::ListRow(list)) => list.edges.as_ref().map_or(0, |edges| edges.count() as u32),
        _ => 0,
    }
}

fn fill_key(entry: &CachedEntry) -> Result<proto::FillRequest> {
    let edges = held_edges(entry);
    let key = match entry.key.context("a node dumped an entry without a key")? {
        Key::Object(id) => fill_request::Key::Object(id),
        Key::List(list) => fill_request::Key::List(list),
    };
    Ok(proto::FillRequest { key: Some(key), edges, ..Default::default() })
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
        Some(object) => {
            let bytes = object.fields.as_ref().map_or(0, tao_schema::fields::EncodedFields::len);
            format!("type {}, version {}, {bytes} bytes of fields", object.otype, object.version)
        }
        None => "absent".to_owned(),
    }
}

fn describe_list(list: &proto::ListRow) -> String {
    let edges = list.edges.as_ref().map_or(0, tao_schema::edges::PackedEdges::count);
    format!("version {}, count {}, {edges} edges", Seq(list.version), list.count)
}

#[cfg(test)]
mod tests {
    use tao_schema::edges::PackedEdgesBuilder;
    use tao_schema::fields::EncodedFields;
    use tao_schema::ids::{ObjectId, Time};

    use super::*;

    const ID: u64 = 7;

    fn position(seq: u64) -> Option<proto::Position> {
        Some(proto::Position { shard: 0, epoch: 1, seq })
    }

    fn object(id: u64, version: u64, fields: &'static [u8]) -> proto::ObjectResult {
        let fields = Some(EncodedFields(fields.into()));
        proto::ObjectResult { object: Some(proto::Object { id, otype: 1, version, fields }) }
    }

    fn list(count: u64, id2s: &[u64]) -> proto::ListRow {
        let mut edges = PackedEdgesBuilder::with_capacity(id2s.len());
        for id2 in id2s {
            edges.push(ObjectId(*id2), Time(5), &[]);
        }
        proto::ListRow { count, version: 3, edges: Some(edges.finish()) }
    }

    fn cached(seq: u64, row: Row) -> CachedEntry {
        CachedEntry { key: Some(Key::Object(ID)), position: position(seq), row: Some(row) }
    }

    fn stored(seq: u64, row: fill_reply::Row) -> proto::FillReply {
        proto::FillReply { position: position(seq), row: Some(row), ..Default::default() }
    }

    #[test]
    fn objects_are_equal_by_content_and_differ_only_if_claimed() {
        // As they come: a dump has the id, a fill has none.
        let database = stored(9, fill_reply::Row::Object(object(0, 2, b"new")));
        let at = |seq, row| compare(&cached(seq, Row::ObjectRow(row)), &database);
        assert_eq!(at(9, object(ID, 2, b"new")), Verdict::Equal);
        assert_eq!(at(8, object(ID, 1, b"old")), Verdict::Older);
        assert_eq!(at(10, object(ID, 3, b"newer")), Verdict::Ahead);
        for wrong in [object(ID, 2, b"old"), object(ID, 1, b"new"), proto::ObjectResult { object: None }] {
            assert!(matches!(at(9, wrong), Verdict::Differs(_)));
        }
        assert!(matches!(at(9, proto::ObjectResult::default()), Verdict::Differs(_)));
    }

    #[test]
    fn a_cached_list_is_the_newest_part() {
        let database = stored(9, fill_reply::Row::List(list(3, &[30, 20, 10])));
        let at = |row| compare(&cached(9, Row::ListRow(row)), &database);
        for right in [list(3, &[30, 20, 10]), list(3, &[30]), list(3, &[])] {
            assert_eq!(at(right), Verdict::Equal);
        }
        for wrong in [list(2, &[30]), list(3, &[20]), list(3, &[30, 10])] {
            assert!(matches!(at(wrong), Verdict::Differs(_)));
        }
    }
}
