//! Shard rows, scans, and what is kept only for a time.

use std::time::Duration;

use tao_schema::error::ErrorCode;
use tao_schema::ids::{AssocType, EdgeKey, Epoch, ListKey, ObjectId, Seq, ShardId};
use tao_schema::ops::Effect;
use tao_schema::rows::ShardState;

use super::bench::*;
use super::{Failure, Verdict};
use crate::store::{ReadKey, ScanPage, Table};
use crate::write::UnitResult;

pub(super) async fn creating_shards_again_changes_nothing(bench: &Bench) -> Verdict {
    let [a, b, ..] = bench.shards;
    bench.ops(vec![add(ObjectId::new(a, 1), text("x"))]).await?;
    bench.one.change_state(b, EPOCH, ShardState::Serving, ShardState::Fenced).await?;
    let before = (bench.row(a).await?, bench.row(b).await?);
    bench.other.create_shards(&bench.shards, Epoch(9)).await?;
    ensure_eq!((bench.row(a).await?, bench.row(b).await?), before, "the shard rows");
    ensure_eq!((before.0.seq, before.0.state), (Seq(1), ShardState::Serving), "the first row");
    bench.one.create_shards(&[], EPOCH).await?;
    Ok(())
}

pub(super) async fn rows_of_some_shards_are_as_those_of_all(bench: &Bench) -> Verdict {
    let [a, b, c, _] = bench.shards;
    bench.ops(vec![add(ObjectId::new(a, 1), text("x"))]).await?;
    bench.one.change_state(b, EPOCH, ShardState::Serving, ShardState::Fenced).await?;
    // No case has this one: they take low ones, their mirrors and those from 0x8000 up.
    let absent = ShardId(0x7fff);
    let mut some = bench.other.shard_rows_of(&[b, absent, a]).await?;
    some.sort_by_key(|row| row.shard);
    let mut expected = vec![bench.row(a).await?, bench.row(b).await?];
    expected.sort_by_key(|row| row.shard);
    ensure_eq!(some, expected, "the rows of two shards that are there and one that is not");
    ensure_eq!((some[0].seq, some[1].state), (Seq(1), ShardState::Fenced), "what was written is in them");
    ensure_eq!(bench.one.shard_rows_of(&[c]).await?, [bench.row(c).await?], "one shard's row");
    ensure_eq!(bench.one.shard_rows_of(&[]).await?, [], "no shard's row");
    Ok(())
}

pub(super) async fn a_state_changes_by_compare_and_set(bench: &Bench) -> Verdict {
    use ShardState::*;
    let shard = bench.shards[3];
    let steps = [
        (EPOCH, Fenced, Serving, false),
        (Epoch(2), Serving, Fenced, false),
        (Epoch(0), Serving, Fenced, false),
        (EPOCH, Serving, Fenced, true),
        (EPOCH, Serving, Fenced, false),
        (EPOCH, Fenced, Importing, true),
        (EPOCH, Importing, Aborted, true),
        (EPOCH, Aborted, Gone, true),
        (EPOCH, Gone, Serving, true),
    ];
    let (mut state, mut seq) = (Serving, Seq::ZERO);
    for (epoch, from, to, expected) in steps {
        let store = if expected { &bench.other } else { &bench.one };
        let changed = store.change_state(shard, epoch, from, to).await?;
        ensure_eq!(changed, expected, "{from:?} to {to:?} in epoch {epoch} while {state:?}");
        if expected {
            // Caches learn of it from the log.
            (state, seq) = (to, seq.next());
        }
        let row = bench.row(shard).await?;
        ensure_eq!((row.state, row.seq, row.epoch), (state, seq, EPOCH), "after {from:?} to {to:?}");
    }
    let missing = bench.one.change_state(ShardId(0x4000), EPOCH, Serving, Fenced).await?;
    ensure!(!missing, "a shard without a row changed its state");
    let done = bench.ops(vec![add(ObjectId::new(shard, 1), text("x"))]).await?;
    ensure_eq!(done.positions[0].seq, seq.next(), "the next write's seq");
    Ok(())
}

pub(super) async fn a_fenced_shard_can_be_read(bench: &Bench) -> Verdict {
    let x = ObjectId::new(bench.shards[1], 1);
    bench.ops(vec![add(x, text("x"))]).await?;
    for (from, to) in [(ShardState::Serving, ShardState::Fenced), (ShardState::Fenced, ShardState::Gone)] {
        bench.one.change_state(x.shard(), EPOCH, from, to).await?;
        let snapshot = bench.other.read(&[ReadKey::Object(x)]).await?.remove(0)?;
        ensure_eq!(snapshot.state, to, "the snapshot's state");
        let result = bench.commit(vec![unit(vec![update(x, text("y"))])]).await?;
        let refused = UnitResult::NotOwned { found: Some((EPOCH, to)) };
        ensure_eq!(result.units[0], refused, "a write while {to:?}");
    }
    Ok(())
}

/// All pages of a table, each checked against the limit.
async fn pages(bench: &Bench, shard: ShardId, table: Table, limit: usize) -> Result<Vec<ScanPage>, Failure> {
    let mut pages: Vec<ScanPage> = Vec::new();
    let mut after = None;
    loop {
        let page = bench.one.scan(shard, table, after, limit).await?;
        let rows = [page.objects.len(), page.edges.len(), page.counts.len(), page.outbox.len()];
        ensure!(rows.iter().sum::<usize>() <= limit, "a page of {rows:?} rows; the limit was {limit}");
        ensure_eq!(page.position.seq, bench.row(shard).await?.seq, "the page's position");
        after = page.next;
        pages.push(page);
        ensure!(pages.len() < 100, "the scan of {table:?} does not end");
        if after.is_none() {
            return Ok(pages);
        }
    }
}

pub(super) async fn every_table_is_scanned_in_pages(bench: &Bench) -> Verdict {
    let [a, b, c, _] = bench.shards;
    // Neighbours' rows must not show, whichever side they are on.
    for shard in [a, b, c] {
        let locals = [0, 1, 1 << 46, 1 << 47, u64::MAX];
        let mut ops: Vec<_> = locals.iter().map(|n| add(ObjectId::new(shard, *n), text("x"))).collect();
        for id1 in locals.map(|n| ObjectId::new(shard, n)) {
            for (atype, id2) in [(0, u64::MAX), (1, 0), (1, 1 << 63), (u16::MAX, u64::MAX)] {
                let key = edge(id1, AssocType(atype), ObjectId(id2));
                ops.push(if atype == 1 { put_pair(key, 5, apart(LIKED_BY)) } else { put(key, 5) });
            }
        }
        bench.ops(ops).await?;
        let id = ObjectId::new(shard, 1);
        bench.ops(vec![delete(id), remove(edge(id, AssocType(0), ObjectId(u64::MAX)))]).await?;
    }
    for (shard, limit) in [(a, 3), (b, 4), (b, 1), (c, 100), (c, 5)] {
        let mut objects = Vec::new();
        for page in pages(bench, shard, Table::Objects, limit).await? {
            objects.extend(page.objects.into_iter().map(|(id, row)| (id, row.version)));
        }
        let local = |n| (ObjectId::new(shard, n), Seq(1));
        let expected = vec![local(0), local(1 << 46), local(1 << 47), local(u64::MAX)];
        ensure_eq!(objects, expected, "objects of {shard}, pages of {limit}");
        let mut edges: Vec<EdgeKey> = Vec::new();
        for page in pages(bench, shard, Table::Edges, limit).await? {
            edges.extend(page.edges.iter().map(|(edge, ..)| *edge));
        }
        ensure_eq!(edges.len(), 19, "edges of {shard}, pages of {limit}");
        ensure!(edges.is_sorted() && edges.iter().all(|e| e.id1.shard() == shard), "edges: {edges:?}");
        let mut counts: Vec<(ListKey, u64)> = Vec::new();
        for page in pages(bench, shard, Table::Counts, limit).await? {
            counts.extend(page.counts.iter().map(|(list, count, _)| (*list, *count)));
        }
        ensure_eq!(counts.len(), 15, "counts of {shard}, pages of {limit}");
        ensure!(counts.is_sorted(), "counts are not in order: {counts:?}");
        ensure_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), 19, "the sum of the counts");
    }
    Ok(())
}

pub(super) async fn the_outbox_is_read_in_pages(bench: &Bench) -> Verdict {
    let [a, b, c, d] = bench.shards;
    let mut expected = Vec::new();
    for shard in [b, a, d] {
        for n in 0..7 {
            // Pairs whose two ends share a shard leave no row: all of these end on another.
            let pair = edge(ObjectId::new(shard, n % 3), LIKES, ObjectId::new(c, n));
            let op =
                if n == 5 { remove_pair(pair, apart(LIKED_BY)) } else { put_pair(pair, 5, apart(LIKED_BY)) };
            let mut done = bench.ops(vec![put_pair(pair, 4, apart(LIKED_BY)), op]).await?;
            if shard == a {
                expected.append(&mut done.pending);
            }
        }
    }
    expected.sort_by_key(|pending| pending.edge);
    for limit in [1, 3, 100] {
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let page = bench.other.outbox(a, after, limit).await?;
            ensure!(page.len() <= limit, "a page of {} rows; the limit was {limit}", page.len());
            let Some(last) = page.last() else { break };
            after = Some(last.edge);
            rows.extend(page);
        }
        ensure_eq!(rows, expected, "outbox rows in pages of {limit}");
    }
    let mut scanned = Vec::new();
    for page in pages(bench, a, Table::Outbox, 2).await? {
        scanned.extend(page.outbox);
    }
    ensure_eq!(scanned, expected, "outbox rows of the scan");
    Ok(())
}

pub(super) async fn what_is_kept_for_a_time_is_purged(bench: &Bench) -> Verdict {
    let [a, b, ..] = bench.shards;
    let x = ObjectId::new(a, 1);
    let pair = edge(ObjectId::new(a, 2), LIKES, ObjectId::new(b, 1));
    let hour = Duration::from_secs(3_600);
    let added = bench.ops(vec![put_pair(pair, 5, apart(LIKED_BY))]).await?.pending;
    bench.ops(vec![remove_pair(pair, together(LIKED_BY))]).await?;
    let attempt = |age| request(1, age, unit(vec![add(x, text("x"))]));
    bench.write(attempt(Duration::ZERO)).await?;
    for shard in [a, b] {
        ensure_eq!(bench.one.purge(shard, Seq::ZERO, hour).await?, 0, "rows purged while new on {shard}");
    }
    // Still there: the journal keeps old news out.
    ensure_eq!(effects(&bench.write(bring(&added[0])).await?), vec![Effect::Nothing], "old news");
    // An engine may keep a row for each batch, or only for those with requests.
    let rows = bench.one.purge(a, Seq(u64::MAX), hour).await?;
    ensure!(rows >= 1, "no request row was purged");
    ensure_eq!(bench.one.purge(a, Seq(u64::MAX), hour).await?, 0, "request rows purged again");
    ensure_eq!(bench.one.purge(b, Seq::ZERO, Duration::ZERO).await?, 1, "tombstones purged");
    ensure_eq!(bench.one.purge(b, Seq::ZERO, Duration::ZERO).await?, 0, "tombstones purged again");
    // Gone: a leader that knows only the database takes the retry for new, the old state for news.
    let retry = bench.other.commit(crate::write::Batch { units: vec![attempt(hour / 360)] }).await?;
    ensure_eq!(refusal(&retry.units[0])?.code, ErrorCode::PreconditionFailed, "the forgotten retry");
    let news = done_alone(&bench.other, bring(&added[0])).await?;
    ensure_eq!(effects(&news), vec![Effect::Created], "the forgotten deletion");
    Ok(())
}
