//! Where tails begin, and go on.

use std::time::Duration;

use super::bench::*;
use super::tail::{changes, seqs, tail_from, tail_from_now, up_to_now, write};
use super::{Failure, Verdict};
use crate::log::{LogPosition, TailErrorKind, TailStart};

pub(super) async fn a_tail_goes_on_exactly_where_another_ended(bench: &Bench) -> Verdict {
    let shard = bench.shards[1];
    let mut first = tail_from_now(bench).await?;
    let mut told = Vec::new();
    let mut places = vec![first.position()];
    for round in 1..=12 {
        write(bench, shard, &format!("round {round}")).await?;
        if round % 4 == 0 {
            // Before the heartbeat: behind it an engine may write what marks the time.
            let executed = bench.log.executed().await?;
            told.extend(up_to_now(bench, &mut *first).await?);
            places.push(first.position());
            ensure!(first.position().covers(&executed), "{:?} lacks some of {executed:?}", first.position());
        }
    }
    ensure_eq!(seqs(&changes(bench, &told), shard), (1..=12).collect::<Vec<_>>(), "what is told at once");
    for (round, place) in places.into_iter().enumerate() {
        // As a text, too: that is how a place is kept and compared.
        let read: LogPosition = place.to_string().parse()?;
        ensure_eq!(read, place, "a position, written and read");
        let mut rest = tail_from(bench, place).await?;
        let told = changes(bench, &up_to_now(bench, &mut *rest).await?);
        let expected: Vec<u64> = (4 * round as u64 + 1..=12).collect();
        ensure_eq!(seqs(&told, shard), expected, "the rest after place {round}");
    }
    Ok(())
}

pub(super) async fn r17_a_tail_starts_in_the_past(bench: &Bench) -> Verdict {
    let shard = bench.shards[3];
    // Leaves a mark, if marks are what the engine needs.
    up_to_now(bench, &mut *tail_from_now(bench).await?).await?;
    for round in 1..=5 {
        write(bench, shard, &format!("round {round}")).await?;
    }
    let mut tail = bench.log.open_tail(TailStart::Back(Duration::from_secs(60))).await?;
    let told = changes(bench, &up_to_now(bench, &mut *tail).await?);
    ensure_eq!(seqs(&told, shard), (1..=5).collect::<Vec<_>>(), "changes of the last minute");
    Ok(())
}

pub(super) async fn a_position_that_the_server_never_had_is_lost(bench: &Bench) -> Verdict {
    let executed = bench.log.executed().await?;
    let mut ahead = executed.clone();
    for (source, intervals) in executed.sources() {
        let last = intervals.last().map_or(0, |(_, last)| *last);
        ahead.add(source, last + 1_000);
    }
    ensure!(!executed.covers(&ahead) && ahead.covers(&executed), "{ahead:?} is not ahead of {executed:?}");
    match bench.log.open_tail(TailStart::After(ahead)).await {
        Ok(_) => Err("a tail of another history was opened".into()),
        Err(error) => {
            ensure_eq!(error.kind, TailErrorKind::PositionLost, "{error}");
            Ok(())
        }
    }
}

pub(super) async fn a_call_that_is_given_up_loses_nothing(bench: &Bench) -> Verdict {
    let shard = bench.shards[0];
    let mut tail = tail_from_now(bench).await?;
    let mut told = Vec::new();
    for round in 1..=30 {
        let patience = Duration::from_micros(40 * round);
        let write = async { write(bench, shard, &format!("round {round}")).await };
        let listen = async { tokio::time::timeout(patience, tail.next()).await };
        let (written, heard) = tokio::join!(write, listen);
        written?;
        if let Ok(events) = heard {
            told.extend(events.map_err(Failure::from)?);
        }
    }
    told.extend(up_to_now(bench, &mut *tail).await?);
    ensure_eq!(seqs(&changes(bench, &told), shard), (1..=30).collect::<Vec<_>>(), "changes told");
    Ok(())
}
