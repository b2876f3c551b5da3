// tidy: names SQL because the events of a log hold statements
//! The events of a database's log.

use std::collections::BTreeSet;

use tao_schema::ids::{ObjectId, ShardId};
use tao_schema::rows::{ChangeItem, ShardChange};
use tao_shard_store::log::TailEvent;
use tao_shard_store::mysql::fuzzing::{TRANSACTION_BYTES, read};

use super::Target;
use super::input::Input;

/// See [`binlog`].
pub const BINLOG: Target = Target {
    name: "binlog",
    body: binlog,
    corpus,
    words: &[
        "tao\0",
        "object",
        "assoc",
        "shard",
        "assoc_count",
        "epoch_history",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "seq",
        "data",
    ],
};

/// Types of events that carry rows, of both versions.
const ROWS: [u8; 6] = [23, 24, 25, 30, 31, 32];

/// An input is events: type (1), length (2), body. Only whole transactions are told, and the same at each reading; what is
/// told keeps the rules of changes (R6, R9) and is not larger than the rows that were read; no transaction is too large.
pub fn binlog(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut events: Vec<(u8, &[u8])> = Vec::new();
    while !input.0.is_empty() {
        let kind = input.byte();
        let length = input.number(2) as usize;
        events.push((kind, input.bytes(length)));
    }
    let log = read(&events);
    assert_eq!(read(&events), log, "the same events tell the same");
    assert!(log.refused.is_some() || log.told.len() == events.len());
    let mut rows = 0;
    for (at, (told, (kind, data))) in log.told.iter().zip(&events).enumerate() {
        let refused = log.refused.is_some() && at + 1 == log.told.len();
        assert!(told.is_empty() || !refused, "an event that was refused tells nothing");
        if ROWS.contains(kind) && !refused {
            assert!(told.is_empty(), "rows tell nothing before their transaction is whole");
            assert!(data.len() <= TRANSACTION_BYTES || !ours(&events, at), "a transaction that is too large");
            rows += data.len();
        }
        // A row of ours takes more bytes than an item has parts.
        assert!(told.iter().map(parts).sum::<usize>() <= rows);
        told.iter().for_each(keeps_the_rules);
    }
}

/// Whether rows may be of a table of ours: a table that some event before describes with a name of ours.
fn ours(events: &[(u8, &[u8])], at: usize) -> bool {
    let number = events[at].1.get(..6);
    events[..at].iter().any(|(kind, data)| {
        *kind == 19 && data.get(..6) == number && data.windows(4).any(|part| part == b"tao\0")
    }) && number != Some(&[0xff, 0xff, 0xff, 0, 0, 0])
}

fn parts(event: &TailEvent) -> usize {
    match event {
        TailEvent::Change { change, .. } => change
            .items
            .iter()
            .map(|item| match item {
                ChangeItem::Object { .. } => 1,
                ChangeItem::List(list) => 1 + list.edges.len(),
            })
            .sum(),
        _ => 1,
    }
}

fn keeps_the_rules(event: &TailEvent) {
    let TailEvent::Change { change, state } = event else { return };
    let ShardChange { shard, seq, items, .. } = &**change;
    assert!(state.readable() || items.is_empty(), "rows that are not read here are no news");
    let here = |id: ObjectId| assert_eq!(id.shard(), ShardId(shard.0));
    let (mut objects, mut lists) = (BTreeSet::new(), BTreeSet::new());
    for item in items {
        match item {
            ChangeItem::Object { id, row } => {
                here(*id);
                assert!(objects.insert(*id), "an object once");
                assert!(row.as_ref().is_none_or(|row| row.version == *seq));
            }
            ChangeItem::List(list) => {
                here(list.key.id1);
                assert!(lists.insert(list.key), "a list once");
                let ends: BTreeSet<_> = list.edges.iter().map(|(id2, _)| *id2).collect();
                assert_eq!(ends.len(), list.edges.len(), "an edge once");
            }
        }
    }
}

/// Columns: name and type of the log.
fn table(id: u8, name: &str, columns: &[(&str, u8)]) -> (u8, Vec<u8>) {
    let mut body = vec![id, 0, 0, 0, 0, 0, 1, 0, 3];
    body.extend(b"tao\0");
    body.push(name.len() as u8);
    body.extend(name.as_bytes());
    body.extend([0, columns.len() as u8]);
    body.extend(columns.iter().map(|(_, kind)| kind));
    let details = columns.iter().filter(|(_, kind)| *kind == 252).count();
    body.push(details as u8);
    body.extend(vec![3; details]);
    // No column can be NULL; one byte of signs, all set; names.
    body.extend([0, 1, 1, 0xff]);
    let names: Vec<u8> =
        columns.iter().flat_map(|(name, _)| [&[name.len() as u8], name.as_bytes()].concat()).collect();
    body.extend([4, names.len() as u8]);
    body.extend(names);
    (19, body)
}

fn rows(kind: u8, id: u8, columns: u8, images: &[Vec<u8>]) -> (u8, Vec<u8>) {
    let mut body = vec![id, 0, 0, 0, 0, 0, 1, 0, columns];
    body.extend(vec![0xff; if kind == 24 { 2 } else { 1 }]);
    for image in images {
        body.push(0);
        body.extend(image);
    }
    (kind, body)
}

fn row(numbers: &[(u64, usize)], data: Option<&[u8]>) -> Vec<u8> {
    let mut image: Vec<u8> =
        numbers.iter().flat_map(|(number, width)| number.to_le_bytes()[..*width].to_vec()).collect();
    if let Some(data) = data {
        image.extend(&(data.len() as u32).to_le_bytes()[..3]);
        image.extend(data);
    }
    image
}

/// One transaction: shard 7 goes from `seq` to the next, with an object and an edge.
fn transaction(seq: u64, begin: &[(u8, Vec<u8>)]) -> Vec<(u8, Vec<u8>)> {
    let next = seq + 1;
    let id = ObjectId::new(ShardId(7), 5).0;
    let shard = |seq| row(&[(7, 2), (1, 4), (seq, 8), (1, 1), (9, 8)], None);
    let object = row(&[(id, 8), (2, 2), (next, 8)], Some(&[8, 9]));
    let assoc = row(&[(id, 8), (3, 2), (77, 8), (1_000, 4), (1, 4), (next, 8)], Some(&[]));
    let (one, two) =
        (row(&[(id, 8), (3, 2), (1, 8), (seq, 8)], None), row(&[(id, 8), (3, 2), (2, 8), (next, 8)], None));
    let of_shard = [("shard", 2), ("epoch", 3), ("seq", 8), ("state", 1), ("next_id", 8)];
    let of_object = [("id", 8), ("otype", 2), ("version", 8), ("data", 252)];
    let of_assoc =
        [("id1", 8), ("atype", 2), ("id2", 8), ("time", 3), ("epoch", 3), ("seq", 8), ("data", 252)];
    let of_count = [("id1", 8), ("atype", 2), ("count", 8), ("version", 8)];
    let mut events = begin.to_vec();
    events.extend([
        table(1, "object", &of_object),
        rows(23, 1, 4, &[object]),
        table(3, "assoc", &of_assoc),
        rows(23, 3, 7, &[assoc]),
        table(4, "assoc_count", &of_count),
        rows(24, 4, 4, &[one, two]),
        table(2, "shard", &of_shard),
        rows(24, 2, 5, &[shard(seq), shard(next)]),
        (16, vec![0; 8]),
    ]);
    events
}

fn packed(events: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let event =
        |(kind, body): &(u8, Vec<u8>)| [&[*kind][..], &(body.len() as u16).to_be_bytes(), body].concat();
    events.iter().flat_map(event).collect()
}

/// Transactions as MariaDB and as MySQL begin them, one and two in a row, and a heartbeat.
fn corpus() -> Vec<Vec<u8>> {
    let maria = |n: u64| vec![(162, [&n.to_le_bytes()[..], &[0; 5]].concat())];
    let mysql = |n: u64| {
        let begin = [&[0; 14][..], b"BEGIN"].concat();
        vec![(33, [&[1; 17][..], &n.to_le_bytes()].concat()), (2, begin)]
    };
    let of_beat = [("writer", 8), ("nonce", 8), ("at", 8)];
    let beat = rows(23, 5, 3, &[row(&[(1, 8), (2, 8), (3, 8)], None)]);
    let beats = [maria(9), vec![table(5, "heartbeat", &of_beat), beat, (16, vec![0; 8])]].concat();
    let two = [transaction(5, &maria(41)), transaction(6, &maria(42))].concat();
    [transaction(5, &maria(41)), transaction(5, &mysql(9)), two, beats]
        .iter()
        .map(|events| packed(events))
        .collect()
}

/// Whether the whole inputs are understood: without that, changes to them would reach nothing.
pub fn corpus_is_understood() -> bool {
    corpus().iter().all(|bytes| {
        let mut input = Input(bytes);
        let mut events: Vec<(u8, &[u8])> = Vec::new();
        while !input.0.is_empty() {
            let kind = input.byte();
            let length = input.number(2) as usize;
            events.push((kind, input.bytes(length)));
        }
        let log = read(&events);
        log.refused.is_none() && log.told.iter().any(|told| !told.is_empty())
    })
}
