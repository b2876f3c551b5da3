//! Reads: order, bounds, absence, and what a snapshot says of itself.

use tao_schema::error::ErrorCode;
use tao_schema::ids::{AssocType, ListKey, ObjectId, Seq, ShardId, Time};
use tao_schema::rows::{ListRow, ShardState};

use super::bench::*;
use super::{Failure, Verdict};
use crate::store::{ReadKey, Row};
use crate::write::StoreOp;

fn ends(list: &ListRow) -> Vec<(u32, u64)> {
    list.edges.iter().map(|edge| (edge.time.0, edge.id2.0)).collect()
}

/// Adds edges of the given times and ends to a list.
async fn fill(bench: &Bench, list: ListKey, edges: &[(u32, u64)]) -> Verdict {
    let ops: Vec<StoreOp> =
        edges.iter().map(|(time, id2)| put(edge(list.id1, list.atype, ObjectId(*id2)), *time)).collect();
    bench.ops(ops).await?;
    Ok(())
}

fn slice(key: ListKey, (high, low): (u32, u32), pos: u32, limit: u32) -> ReadKey {
    ReadKey::Slice { key, high: Time(high), low: Time(low), pos, limit }
}

pub(super) async fn a_list_is_newest_first_with_ties_by_id(bench: &Bench) -> Verdict {
    let list = ListKey { id1: ObjectId::new(bench.shards[0], 1), atype: FOLLOWS };
    fill(bench, list, &[(5, 2), (7, 1), (5, 9), (1, 4), (5, 3)]).await?;
    let expected = vec![(7, 1), (5, 9), (5, 3), (5, 2), (1, 4)];
    ensure_eq!(ends(&bench.list(list).await?), expected, "the list");
    // A new time moves the edge.
    fill(bench, list, &[(6, 4)]).await?;
    let expected = vec![(7, 1), (6, 4), (5, 9), (5, 3), (5, 2)];
    ensure_eq!(ends(&bench.list(list).await?), expected, "after an edge got a newer time");
    Ok(())
}

pub(super) async fn extremes_of_ids_and_times_keep_their_order(bench: &Bench) -> Verdict {
    let top = 1 << 63;
    // A list of a shard with the top bit set; types at their limit.
    let list = ListKey { id1: ObjectId::new(bench.shards[3], u64::MAX), atype: AssocType(32_767) };
    let other = ListKey { atype: AssocType(32_766), ..list };
    let edges = [
        (u32::MAX, u64::MAX),
        (u32::MAX, top),
        (u32::MAX, top - 1),
        (u32::MAX, 0),
        (1 << 31, 5),
        ((1 << 31) - 1, u64::MAX - 1),
        (0, top + 1),
        (0, 1),
    ];
    fill(bench, list, &edges[..4]).await?;
    fill(bench, list, &edges[4..]).await?;
    fill(bench, other, &edges[..1]).await?;
    ensure_eq!(ends(&bench.list(list).await?), edges.to_vec(), "the list");
    let newest = bench.list_of(slice(list, (u32::MAX, u32::MAX), 1, 2)).await?;
    ensure_eq!(ends(&newest), edges[1..3].to_vec(), "a slice of the newest time");
    let oldest = bench.list_of(slice(list, (0, 0), 0, 10)).await?;
    ensure_eq!(ends(&oldest), edges[6..].to_vec(), "a slice of time 0");
    ensure_eq!(ends(&bench.list(other).await?), edges[..1].to_vec(), "the list of the type before");
    for (time, id2) in edges {
        let stored = bench.edge(edge(list.id1, list.atype, ObjectId(id2))).await?;
        ensure_eq!(stored.map(|(value, ..)| value.time), Some(Time(time)), "the edge to {id2}");
    }
    Ok(())
}

pub(super) async fn a_slice_honours_bounds_and_position(bench: &Bench) -> Verdict {
    let list = ListKey { id1: ObjectId::new(bench.shards[2], 1), atype: FOLLOWS };
    let edges: Vec<_> = (1..=9_u64).rev().map(|n| (10 * n as u32, n)).collect();
    fill(bench, list, &edges).await?;
    let all = (u32::MAX, 0);
    let cases = [
        (all, 0, 100, &edges[..]),
        (all, 0, 3, &edges[..3]),
        (all, 4, 3, &edges[4..7]),
        (all, 8, 5, &edges[8..]),
        (all, 9, 5, &[]),
        (all, 100, 5, &[]),
        (all, 0, 0, &[]),
        ((70, 30), 0, 100, &edges[2..7]),
        ((70, 30), 1, 2, &edges[3..5]),
        ((70, 30), 4, 9, &edges[6..7]),
        ((69, 31), 0, 100, &edges[3..6]),
        ((50, 50), 0, 100, &edges[4..5]),
        ((55, 51), 0, 100, &[]),
        ((30, 70), 0, 100, &[]),
    ];
    for (bounds, pos, limit, expected) in cases {
        let row = bench.list_of(slice(list, bounds, pos, limit)).await?;
        ensure_eq!(ends(&row), expected.to_vec(), "times {bounds:?}, position {pos}, limit {limit}");
        ensure_eq!((row.count, row.version), (9, Seq(1)), "count and version of a slice are the list's");
    }
    Ok(())
}

pub(super) async fn a_long_list_is_read_by_its_prefix(bench: &Bench) -> Verdict {
    let list = ListKey { id1: ObjectId::new(bench.shards[1], 1), atype: FOLLOWS };
    // Written in an order that is not that of time.
    let edges: Vec<_> = (0..600_u64).map(|n| ((n * 7 % 600) as u32, n)).collect();
    for part in edges.chunks(200) {
        fill(bench, list, part).await?;
    }
    let mut newest = edges;
    newest.sort_by(|a, b| b.cmp(a));
    for prefix in [0, 1, 2, 599, 600, 601] {
        let row = bench.list_of(ReadKey::List { key: list, edges: prefix }).await?;
        ensure_eq!((row.count, row.version), (600, Seq(3)), "count and version with {prefix} edges");
        let expected = &newest[..600.min(prefix as usize)];
        ensure_eq!(ends(&row), expected.to_vec(), "the prefix of {prefix} edges");
    }
    ensure_eq!(
        ends(&bench.list_of(slice(list, (u32::MAX, 0), 500, 50)).await?),
        newest[500..550].to_vec(),
        "a slice deep in the list"
    );
    Ok(())
}

pub(super) async fn absence_is_an_answer(bench: &Bench) -> Verdict {
    let id1 = ObjectId::new(bench.shards[0], 1);
    let key = ListKey { id1, atype: FOLLOWS };
    let keys = [
        ReadKey::Object(id1),
        ReadKey::List { key, edges: 10 },
        slice(key, (u32::MAX, 0), 0, 10),
        ReadKey::Edge(edge(id1, FOLLOWS, id1)),
    ];
    let empty = Row::List(ListRow::default());
    let expected = [Row::Object(None), empty.clone(), empty, Row::Edge(None)];
    let answers = bench.one.read(&keys).await?;
    ensure_eq!(answers.len(), keys.len(), "answers");
    for (answer, expected) in answers.into_iter().zip(expected) {
        let snapshot = answer?;
        ensure_eq!(snapshot.row, expected, "what is absent");
        ensure_eq!(snapshot.position.seq, Seq::ZERO, "the position of absence");
    }
    ensure!(bench.one.read(&[]).await?.is_empty(), "no key has an answer");
    Ok(())
}

pub(super) async fn h12_a_snapshot_names_the_position_of_its_content(bench: &Bench) -> Verdict {
    let [a, b, ..] = bench.shards;
    let (x, y) = (ObjectId::new(a, 1), ObjectId::new(b, 1));
    let list = ListKey { id1: x, atype: FOLLOWS };
    let writer = async {
        for n in 1..=60 {
            let op = if n == 1 { add(x, text("0")) } else { update(x, text(&n.to_string())) };
            let ops = vec![op, put(edge(x, FOLLOWS, ObjectId::new(b, n)), n as u32)];
            done_alone(&bench.other, unit(ops)).await?;
            tokio::task::yield_now().await;
        }
        Ok::<(), Failure>(())
    };
    // Every write changes the object and the list: at seq n the object has version n, and the list n edges.
    let reader = async {
        loop {
            // Alone, and with others; whole, and the newest of more.
            let head = |edges| ReadKey::List { key: list, edges };
            let with_others = [ReadKey::Object(x), head(100), head(7), head(0), ReadKey::Object(y)];
            let mut answers = bench.one.read(&with_others).await?;
            answers.extend(bench.one.read(&[head(100)]).await?);
            for (at, answer) in answers.into_iter().enumerate() {
                let snapshot = answer?;
                let seq = snapshot.position.seq;
                match snapshot.row {
                    Row::Object(row) if snapshot.position.shard == a => {
                        ensure_eq!(row.map_or(Seq::ZERO, |row| row.version), seq, "the object's version");
                    }
                    Row::List(row) => {
                        ensure_eq!((row.count, row.version), (seq.0, seq), "the list at {seq}");
                        let most = [0, 100, 7, 0, 0, 100][at];
                        ensure_eq!(row.edges.count() as u64, seq.0.min(most), "the list's edges at {seq}");
                    }
                    _ => ensure_eq!(seq, Seq::ZERO, "the quiet shard's position"),
                }
            }
            if bench.row(a).await?.seq == Seq(60) {
                return Ok::<(), Failure>(());
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::try_join!(writer, reader)?;
    Ok(())
}

pub(super) async fn a_key_without_a_shard_fails_alone(bench: &Bench) -> Verdict {
    let nowhere = ObjectId::new(ShardId(0x4000), 1);
    let x = ObjectId::new(bench.shards[0], 1);
    let list = ListKey { id1: nowhere, atype: FOLLOWS };
    let keys = [
        ReadKey::Object(nowhere),
        ReadKey::Object(x),
        ReadKey::List { key: list, edges: 5 },
        slice(list, (9, 0), 0, 5),
        ReadKey::Edge(edge(nowhere, FOLLOWS, x)),
        ReadKey::Edge(edge(x, FOLLOWS, nowhere)),
    ];
    let answers = bench.one.read(&keys).await?;
    ensure_eq!(answers.len(), keys.len(), "answers");
    for (at, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(snapshot) => {
                ensure!(at == 1 || at == 5, "key {at} has an answer: {snapshot:?}");
                ensure_eq!(snapshot.state, ShardState::Serving, "state of key {at}");
            }
            Err(error) => {
                ensure!(at != 1 && at != 5, "key {at} has no answer: {error}");
                ensure_eq!(error.code, ErrorCode::NoSuchShard, "key {at}");
            }
        }
    }
    Ok(())
}
