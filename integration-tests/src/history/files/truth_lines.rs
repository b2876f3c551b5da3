//! The logs as lines.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use tao_schema::edges::PackedEdges;
use tao_schema::ids::{Epoch, ListKey, ObjectId, Position, PrimaryTime, Seq, ShardId};
use tao_schema::rows::{EpochStart, ObjectRow, ShardChange, ShardState};
use tao_schema::wire::proto;

use super::lines::{decoded, encoded, nanos};
use crate::history::judges::log_line;
use crate::history::truth::{Seed, SeedList, TimeMark, Truth};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// Where a shard stood before the run; whether its content is known, in the lines that follow.
    Base {
        at: Position,
        seeded: bool,
    },
    SeedObject {
        shard: ShardId,
        object: String,
    },
    SeedList {
        key: ListKey,
        count: u64,
        version: Seq,
        edges: String,
    },
    Epoch {
        shard: ShardId,
        epoch: Epoch,
        first_seq: Seq,
    },
    Change {
        change: String,
        state: u8,
        seen_ns: u64,
        text: String,
    },
    Time {
        at: Position,
        time: PrimaryTime,
        seen_ns: u64,
    },
    Conflict {
        what: String,
    },
}

pub(super) fn write(truth: &Truth, to: &mut impl Write) -> Result<()> {
    let mut put = |line: &Line| -> Result<()> {
        serde_json::to_writer(&mut *to, line)?;
        to.write_all(b"\n")?;
        Ok(())
    };
    for (shard, log) in truth.shards() {
        let (epoch, seq) = log.base();
        let seed = log.seed();
        put(&Line::Base { at: Position { shard, epoch, seq }, seeded: seed.is_some() })?;
        for (id, row) in seed.into_iter().flat_map(|seed| &seed.objects) {
            put(&Line::SeedObject { shard, object: encoded(&proto::Object::from((*id, row.clone()))) })?;
        }
        for (key, list) in seed.into_iter().flat_map(|seed| &seed.lists) {
            let edges = BASE64.encode(list.edges.iter().collect::<PackedEdges>().as_bytes());
            put(&Line::SeedList { key: *key, count: list.count, version: list.version, edges })?;
        }
        for EpochStart { epoch, first_seq } in log.epochs().iter() {
            put(&Line::Epoch { shard, epoch, first_seq })?;
        }
        for logged in log.log() {
            let change = encoded(&proto::ShardChange::from(&*logged.change));
            let (state, seen_ns) = (logged.state.number(), nanos(logged.seen));
            put(&Line::Change { change, state, seen_ns, text: log_line(logged) })?;
        }
        for mark in log.times() {
            put(&Line::Time { at: mark.position, time: mark.time, seen_ns: nanos(mark.seen) })?;
        }
    }
    for what in truth.conflicts() {
        put(&Line::Conflict { what: what.clone() })?;
    }
    Ok(())
}

pub(super) fn read(truth: &mut Truth, line: &str) -> Result<()> {
    match serde_json::from_str(line)? {
        Line::Base { at, seeded } => truth.begin(at, seeded.then(Seed::default)),
        Line::SeedObject { shard, object } => {
            let (id, row): (ObjectId, ObjectRow) = decoded::<proto::Object>(&object)?.try_into()?;
            seed(truth, shard)?.objects.insert(id, row);
        }
        Line::SeedList { key, count, version, edges } => {
            let edges = PackedEdges::from_bytes(BASE64.decode(edges)?.into())?.to_vec();
            seed(truth, key.id1.shard())?.lists.insert(key, SeedList { count, version, edges });
        }
        Line::Epoch { shard, epoch, first_seq } => truth.note_epoch(shard, EpochStart { epoch, first_seq }),
        Line::Change { change, state, seen_ns, .. } => {
            let change = ShardChange::try_from(decoded::<proto::ShardChange>(&change)?)?;
            let state = ShardState::from_number(state).context("there is no such state")?;
            truth.note_change(&Arc::new(change), state, Duration::from_nanos(seen_ns));
        }
        Line::Time { at, time, seen_ns } => {
            truth.note_time(TimeMark { time, position: at, seen: Duration::from_nanos(seen_ns) });
        }
        Line::Conflict { what } => truth.note_conflict(what),
    }
    Ok(())
}

fn seed(truth: &mut Truth, shard: ShardId) -> Result<&mut Seed> {
    truth.seed_mut(shard).context("content without a base")
}
