//! The database against itself: counts against lists, edges against their inverses.

use std::time::Duration;

use anyhow::{Context, Result};
use prost::Message as _;
use tao_schema::graph_schema::GraphSchema;
use tao_schema::ids::{AssocType, EdgeKey, ObjectId, ShardId};
use tao_schema::wire::proto::{self, AssocCount, AssocValue, ScanTable, fill_reply, fill_request};

use super::nodes::{Nodes, batches};
use super::report::Report;

/// Rows of one page.
const PAGE: u32 = 2_000;
/// Times that a pair which differs is looked at again: its inverse may be on its way.
const ATTEMPTS: u32 = 50;
/// Pause between them.
const PAUSE: Duration = Duration::from_millis(200);

/// A list on its way through the scan.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct List {
    id1: u64,
    atype: u32,
}

/// Checks the tables of `shard`.
pub async fn check(nodes: &Nodes, schema: &GraphSchema, shard: ShardId) -> Result<Report> {
    let mut report = Report::default();
    let mut after = None;
    loop {
        let page = nodes.scan(shard, ScanTable::Objects, after, PAGE).await?;
        report.objects += page.object.len() as u64;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    edges(nodes, schema, shard, &mut report).await?;
    Ok(report)
}

/// Walks edges and counts side by side, both in key order.
async fn edges(nodes: &Nodes, schema: &GraphSchema, shard: ShardId, report: &mut Report) -> Result<()> {
    let mut counts = CountWalk::new(shard);
    let mut open: Option<(List, u64)> = None;
    let mut after = None;
    loop {
        let page = nodes.scan(shard, ScanTable::Edges, after, PAGE).await?;
        for edge in &page.edge {
            let list = List { id1: edge.id1, atype: edge.atype };
            match &mut open {
                Some((current, length)) if *current == list => *length += 1,
                _ => {
                    if let Some((done, length)) = open.replace((list, 1)) {
                        counts.settle(nodes, done, length, report).await?;
                    }
                }
            }
        }
        report.edges += page.edge.len() as u64;
        inverses(nodes, schema, &page.edge, report).await?;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if let Some((done, length)) = open {
        counts.settle(nodes, done, length, report).await?;
    }
    counts.rest(nodes, report).await
}

/// The count rows of a shard, taken as the edges pass by.
struct CountWalk {
    shard: ShardId,
    page: std::vec::IntoIter<proto::ScannedCount>,
    after: Option<proto::ScanKey>,
    ended: bool,
    held: Option<proto::ScannedCount>,
}

impl CountWalk {
    fn new(shard: ShardId) -> Self {
        Self { shard, page: Vec::new().into_iter(), after: None, ended: false, held: None }
    }

    async fn next(&mut self, nodes: &Nodes) -> Result<Option<proto::ScannedCount>> {
        loop {
            if let Some(row) = self.held.take().or_else(|| self.page.next()) {
                return Ok(Some(row));
            }
            if self.ended {
                return Ok(None);
            }
            let reply = nodes.scan(self.shard, ScanTable::Counts, self.after, PAGE).await?;
            self.after = reply.next;
            self.ended = reply.next.is_none();
            self.page = reply.count.into_iter();
        }
    }

    /// The scan has seen `length` edges of `list`: its count must say so, and lists before it must be empty.
    async fn settle(&mut self, nodes: &Nodes, list: List, length: u64, report: &mut Report) -> Result<()> {
        while let Some(row) = self.next(nodes).await? {
            let at = List { id1: row.id1, atype: row.atype };
            if at > list {
                self.held = Some(row);
                break;
            }
            report.counts += 1;
            let seen = if at == list { length } else { 0 };
            if row.count != seen {
                recount(nodes, self.shard, at, report).await?;
            }
            if at == list {
                return Ok(());
            }
        }
        report.counts += 1;
        recount(nodes, self.shard, list, report).await
    }

    /// No edges are left: nor may counts be.
    async fn rest(&mut self, nodes: &Nodes, report: &mut Report) -> Result<()> {
        while let Some(row) = self.next(nodes).await? {
            report.counts += 1;
            if row.count != 0 {
                recount(nodes, self.shard, List { id1: row.id1, atype: row.atype }, report).await?;
            }
        }
        Ok(())
    }
}

/// Pages of a scan are different snapshots, and the list may have changed between them. One that differs is counted
/// again, between two looks at its count row: with the same version in both, nothing changed meanwhile.
async fn recount(nodes: &Nodes, shard: ShardId, list: List, report: &mut Report) -> Result<()> {
    let key = format!("list ({}, {})", list.id1, list.atype);
    for _ in 0..ATTEMPTS {
        let before = count_row(nodes, shard, list).await?;
        let length = length(nodes, shard, list).await?;
        let after = count_row(nodes, shard, list).await?;
        if before.version != after.version {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        if length != before.count {
            report.differs("count", "", key, format!("count {}, but {length} edges", before.count));
        }
        return Ok(());
    }
    let detail = "kept changing: run the check again when fewer writes come in".to_owned();
    report.differs("count", "", key, detail);
    Ok(())
}

async fn count_row(nodes: &Nodes, shard: ShardId, list: List) -> Result<proto::ListRow> {
    let key = fill_request::Key::List(AssocCount { id1: list.id1, atype: list.atype });
    let request = proto::FillRequest { key: Some(key), ..Default::default() };
    let row = nodes.read(shard, vec![request], &[]).await?.row.pop().context("a leader answered no row")?;
    match row.row {
        Some(fill_reply::Row::List(row)) => Ok(row),
        _ => anyhow::bail!("a leader answered no list"),
    }
}

/// Walks the edges of one list.
async fn length(nodes: &Nodes, shard: ShardId, list: List) -> Result<u64> {
    // Types start at 1, so this key is before every edge of the list and after those of the type before it.
    let before = proto::ScanKey { id1: list.id1, atype: list.atype.saturating_sub(1), id2: u64::MAX };
    let mut after = Some(before);
    let mut length = 0;
    while after.is_some() {
        let page = nodes.scan(shard, ScanTable::Edges, after, PAGE).await?;
        let of_list = |edge: &&proto::ScannedEdge| (edge.id1, edge.atype) == (list.id1, list.atype);
        let found = page.edge.iter().take_while(of_list).count();
        length += found as u64;
        after = page.next.filter(|_| found == page.edge.len());
    }
    Ok(length)
}

/// Every edge whose type has an inverse must have it, with the same time and data.
async fn inverses(
    nodes: &Nodes,
    schema: &GraphSchema,
    edges: &[proto::ScannedEdge],
    report: &mut Report,
) -> Result<()> {
    let mut by_shard = std::collections::BTreeMap::<ShardId, Vec<(EdgeKey, &proto::ScannedEdge)>>::new();
    for edge in edges {
        let atype = AssocType(u16::try_from(edge.atype).context("an association type above 65535")?);
        let key = EdgeKey { id1: ObjectId(edge.id1), atype, id2: ObjectId(edge.id2) };
        let Some(inverse) = schema.assoc_type(atype).and_then(|def| def.inverse) else { continue };
        let inverse = key.reversed(inverse);
        if inverse != key {
            by_shard.entry(inverse.id1.shard()).or_default().push((inverse, edge));
        }
    }
    for (shard, wanted) in by_shard {
        for batch in batches(&wanted, |(_, edge)| edge.encoded_len()) {
            compare(nodes, shard, batch, report).await?;
        }
    }
    Ok(())
}

async fn compare(
    nodes: &Nodes,
    shard: ShardId,
    wanted: &[(EdgeKey, &proto::ScannedEdge)],
    report: &mut Report,
) -> Result<()> {
    let keys: Vec<EdgeKey> = wanted.iter().map(|(key, _)| *key).collect();
    let found = nodes.read(shard, Vec::new(), &keys).await?.edge;
    anyhow::ensure!(found.len() == keys.len(), "a leader answered {} edges for {}", found.len(), keys.len());
    for ((key, edge), found) in wanted.iter().zip(found) {
        report.inverses += 1;
        if found.value != edge.value {
            report.pending_inverses += 1;
            if let Some(detail) = look_again(nodes, *key, edge).await? {
                let name = format!("edge ({}, {}, {})", edge.id1, edge.atype, edge.id2);
                report.differs("inverse", "", name, detail);
            }
        }
    }
    Ok(())
}

/// Reads both sides until they agree: an inverse may be on its way, within the drain's time.
async fn look_again(nodes: &Nodes, inverse: EdgeKey, edge: &proto::ScannedEdge) -> Result<Option<String>> {
    let atype = AssocType(u16::try_from(edge.atype).context("an association type above 65535")?);
    let forward = EdgeKey { id1: ObjectId(edge.id1), atype, id2: ObjectId(edge.id2) };
    let mut sides = (None, None);
    for _ in 0..ATTEMPTS {
        sides = (value(nodes, forward).await?, value(nodes, inverse).await?);
        if sides.0 == sides.1 {
            return Ok(None);
        }
        tokio::time::sleep(PAUSE).await;
    }
    let say = |side: &Option<AssocValue>| match side {
        Some(value) => format!("time {}", value.time),
        None => "absent".to_owned(),
    };
    Ok(Some(format!("here {}, its inverse {}", say(&sides.0), say(&sides.1))))
}

async fn value(nodes: &Nodes, edge: EdgeKey) -> Result<Option<AssocValue>> {
    let reply = nodes.read(edge.id1.shard(), Vec::new(), &[edge]).await?;
    Ok(reply.edge.into_iter().next().context("a leader answered no edge")?.value)
}
