//! What the log tells: changes, epochs, heartbeats, topologies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tao_schema::ids::{Epoch, ObjectId, Seq, ShardId};
use tao_schema::rows::{EpochStart, ShardChange, ShardState};

use super::bench::*;
use super::{Failure, Verdict, random};
use crate::log::{Beat, BeatWriter, LogPosition, LogTail, StoredTopology, TailEvent, TailStart};
use crate::store::ShardRow;

/// A tail that says nothing for so long has lost something.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who writes the cases' heartbeats.
fn writer() -> BeatWriter {
    BeatWriter::of("conformance")
}

pub(super) async fn tail_from(bench: &Bench, position: LogPosition) -> Result<Box<dyn LogTail>, Failure> {
    Ok(bench.log.open_tail(TailStart::After(position)).await?)
}

pub(super) async fn tail_from_now(bench: &Bench) -> Result<Box<dyn LogTail>, Failure> {
    tail_from(bench, bench.log.executed().await?).await
}

/// What a tail gives out up to a heartbeat that is written now.
pub(super) async fn up_to_now(bench: &Bench, tail: &mut dyn LogTail) -> Result<Vec<TailEvent>, Failure> {
    let beat = Beat { writer: writer(), nonce: rand::random() };
    let time = bench.log.beat(beat).await?;
    let mut told = Vec::new();
    loop {
        let more = tokio::time::timeout(PATIENCE, tail.next()).await;
        for event in more.map_err(|_| "a heartbeat did not come through the log")?? {
            if event == (TailEvent::Beat { beat, time }) {
                return Ok(told);
            }
            told.push(event);
        }
    }
}

/// Changes of the case's shards, in order for each.
pub(super) type Changes = BTreeMap<ShardId, Vec<(ShardChange, ShardState)>>;

pub(super) fn changes(bench: &Bench, told: &[TailEvent]) -> Changes {
    let mut changes = Changes::new();
    for event in told {
        if let TailEvent::Change { change, state } = event
            && bench.shards.contains(&change.shard)
        {
            changes.entry(change.shard).or_default().push((ShardChange::clone(change), *state));
        }
    }
    changes
}

/// The seqs of a shard's changes.
pub(super) fn seqs(changes: &Changes, shard: ShardId) -> Vec<u64> {
    let changes = changes.get(&shard).map_or(&[][..], Vec::as_slice);
    changes.iter().map(|(change, _)| change.seq.0).collect()
}

/// A write to the first object of a shard.
pub(super) async fn write(bench: &Bench, shard: ShardId, text_of_it: &str) -> Verdict {
    let id = ObjectId::new(shard, 1);
    let exists = bench.object(id).await?.is_some();
    let op = if exists { update(id, text(text_of_it)) } else { add(id, text(text_of_it)) };
    bench.ops(vec![op]).await.map(|_| ())
}

pub(super) async fn the_log_tells_what_the_writers_were_told(bench: &Bench) -> Verdict {
    let mut tail = tail_from_now(bench).await?;
    let seed = random::seed()?;
    let mut answered = random::run(bench, seed).await?;
    for (at, shard) in bench.shards.into_iter().enumerate() {
        for (from, to) in
            [(ShardState::Serving, ShardState::Fenced), (ShardState::Fenced, ShardState::Serving)]
        {
            let done = bench.one.change_state(shard, EPOCH, from, to).await?;
            ensure!(done, "shard {shard} did not become {to:?}");
            let seq = bench.row(shard).await?.seq;
            answered.push(Arc::new(ShardChange { shard, epoch: EPOCH, seq, items: Vec::new() }));
        }
        let id = ObjectId::new(shard, 7 + at as u64);
        answered.extend(bench.commit(vec![unit(vec![add(id, text("last"))])]).await?.changes);
    }
    let told = changes(bench, &up_to_now(bench, &mut *tail).await?);
    for shard in bench.shards {
        let answered = answered.iter().filter(|change| change.shard == shard);
        let told = told.get(&shard).map_or(&[][..], Vec::as_slice);
        for (at, answered) in answered.clone().enumerate() {
            let told = told.get(at).map(|(change, _)| change);
            ensure_eq!(told, Some(&**answered), "TAO_SEED={seed}: change {at} of shard {shard}");
        }
        ensure_eq!(told.len(), answered.count(), "TAO_SEED={seed}: changes of shard {shard}");
        let fenced = told.iter().filter(|(_, state)| *state == ShardState::Fenced);
        ensure_eq!(fenced.count(), 1, "TAO_SEED={seed}: changes under a fence, of shard {shard}");
    }
    Ok(())
}

pub(super) async fn states_are_told_as_far_as_they_matter(bench: &Bench) -> Verdict {
    use ShardState::*;
    let shard = bench.shards[2];
    let mut tail = tail_from_now(bench).await?;
    let steps = [Serving, Fenced, Importing, Aborted, Gone, Serving];
    for step in steps.windows(2) {
        let done = bench.one.change_state(shard, EPOCH, step[0], step[1]).await?;
        ensure!(done, "from {:?} to {:?}", step[0], step[1]);
    }
    let told = changes(bench, &up_to_now(bench, &mut *tail).await?);
    let told: Vec<_> = told.get(&shard).map_or(&[][..], Vec::as_slice).to_vec();
    let change = |seq, state| (ShardChange { shard, epoch: EPOCH, seq: Seq(seq), items: Vec::new() }, state);
    // That a shard is not to be read any more is told; what happens to it then is not news (R9).
    ensure_eq!(told, vec![change(1, Fenced), change(2, Importing), change(5, Serving)], "what is told");
    Ok(())
}

pub(super) async fn a_new_shard_is_an_epoch_and_no_change(bench: &Bench) -> Verdict {
    // Between the low and the high shards of all cases.
    let new = ShardId(0x2000 + bench.shards[0].0);
    let mut tail = tail_from_now(bench).await?;
    bench.one.create_shards(&[new], Epoch(3)).await?;
    bench.other.create_shards(&[new], Epoch(3)).await?;
    bench.other.create_shards(&[new], Epoch(4)).await?;
    let told = up_to_now(bench, &mut *tail).await?;
    let of_new = told.into_iter().filter(|event| match event {
        TailEvent::Epoch { shard, .. } => *shard == new,
        TailEvent::Change { change, .. } => change.shard == new,
        TailEvent::Beat { .. } | TailEvent::Topology { .. } => false,
    });
    let start = EpochStart { epoch: Epoch(3), first_seq: Seq(1) };
    ensure_eq!(of_new.collect::<Vec<_>>(), vec![TailEvent::Epoch { shard: new, start }], "what is told");
    let survey = bench.log.survey(writer()).await?;
    let row = ShardRow { shard: new, epoch: Epoch(3), seq: Seq::ZERO, state: ShardState::Serving };
    ensure!(survey.rows.contains(&row), "the survey has no row of the shard");
    let epochs: Vec<_> = survey.epochs.into_iter().filter(|(shard, _)| *shard == new).collect();
    ensure_eq!(epochs, vec![(new, start)], "its history");
    Ok(())
}

/// A position, and a survey that was made later and shows a nonce that was written in between: all that the position
/// counts is in its rows, so that nothing is missing between rows and tail.
pub(super) async fn h9_a_survey_with_a_nonce_shows_everything_before_it(bench: &Bench) -> Verdict {
    let writes = async {
        for round in 0..60 {
            write(bench, bench.shards[round % 4], &format!("round {round}")).await?;
        }
        Ok::<_, Failure>(())
    };
    let surveys = async {
        let mut surveys = Vec::new();
        for _ in 0..6 {
            let position = bench.log.executed().await?;
            let beat = Beat { writer: writer(), nonce: rand::random() };
            let time = bench.log.beat(beat).await?;
            let survey = bench.log.survey(writer()).await?;
            ensure_eq!(survey.beat, Some((beat.nonce, time)), "the heartbeat that was just written");
            surveys.push((position, survey));
        }
        Ok::<_, Failure>(surveys)
    };
    let (written, surveys) = tokio::join!(writes, surveys);
    written?;
    for (position, survey) in surveys? {
        let mut tail = tail_from(bench, position).await?;
        let told = changes(bench, &up_to_now(bench, &mut *tail).await?);
        for shard in bench.shards {
            let row = survey.rows.iter().find(|row| row.shard == shard);
            let row = row.ok_or_else(|| format!("the survey has no row of {shard}"))?;
            let seqs = seqs(&told, shard);
            let first = seqs.first().copied().unwrap_or(16);
            ensure!(first <= row.seq.0 + 1, "the row says {}, the tail begins with {first}", row.seq);
            ensure_eq!(seqs, (first..16).collect::<Vec<_>>(), "the changes of shard {shard}");
        }
    }
    let stranger = bench.log.survey(BeatWriter::of("nobody")).await?;
    ensure_eq!(stranger.beat, None, "the heartbeat of one who never wrote any");
    Ok(())
}

pub(super) async fn a_topology_is_stored_by_compare_and_set(bench: &Bench) -> Verdict {
    let topology =
        |version| StoredTopology { version, toml: format!("# topology {version}\nk = \"ü'\\\"\"\n") };
    let mut tail = tail_from_now(bench).await?;
    ensure_eq!(bench.log.stored_topology().await?, None, "the topology of a new database");
    // The first may have any version: a cluster that was there before its database.
    for (version, expected) in [(5, true), (5, false), (4, false), (7, false), (1, false), (6, true)] {
        let stored = bench.log.store_topology(&topology(version)).await?;
        ensure_eq!(stored, expected, "whether version {version} was stored");
    }
    let mut rivals = [topology(7), topology(7)];
    rivals[1].toml.push_str("# another\n");
    let [one, other] = &rivals;
    let (one, other) = tokio::join!(bench.log.store_topology(one), bench.log.store_topology(other));
    let (one, other) = (one?, other?);
    ensure!(one != other, "of two at once, stored were: {one}, {other}");
    let newest = bench.log.stored_topology().await?;
    ensure_eq!(newest.as_ref(), Some(&rivals[usize::from(other)]), "the newest topology");
    let told = up_to_now(bench, &mut *tail).await?;
    let versions: Vec<_> = told
        .iter()
        .filter_map(|event| match event {
            TailEvent::Topology { version } => Some(*version),
            _ => None,
        })
        .collect();
    ensure_eq!(versions, vec![5, 6, 7], "what the log tells");
    ensure!(bench.log.store_topology(&topology(0)).await.is_err(), "version 0 was taken");
    Ok(())
}

pub(super) async fn a_server_that_serves_has_no_fatal_finding(bench: &Bench) -> Verdict {
    let fatal: Vec<_> = bench.log.preflight().await?.into_iter().filter(|finding| finding.fatal).collect();
    ensure_eq!(fatal, vec![], "fatal findings");
    Ok(())
}
