//! Whether memory proves what a read demands beyond its token, and by which rule (R19-R21).

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use tao_schema::ids::Position;
use tao_schema::ops::{Demand, Freshness};
use tao_schema::planted::{Bug, planted};
use tao_schema::{Error, ErrorCode};

use crate::core::LineageProblem;
use crate::follower::age::{Known, as_duration, micros};
use crate::follower::metrics::ReadResult;
use crate::follower::shards::ShardSlot;
use crate::follower::shared::Shared;

/// What a look at memory holds, beside the entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// Taken before the entry.
    pub(super) known: Known,
    /// Taken after the entry, in microseconds of the node's clock.
    pub(super) now: u64,
}

/// Whether memory may answer.
pub(super) enum Proof {
    Proved,
    /// Somebody further up may.
    Up(ReadResult),
    /// Nobody ever will.
    Lost(Error),
}

/// Reads that no follower answers from memory, whatever it knows.
#[inline]
pub(super) const fn not_from_here(freshness: Freshness) -> Option<ReadResult> {
    match freshness {
        Freshness::Any | Freshness::Within(_) => None,
        Freshness::Master => Some(ReadResult::Master),
        Freshness::Critical => Some(ReadResult::Critical),
    }
}

impl Shared {
    /// Whether what memory knows of the shard satisfies the demand; the token itself was compared with the entry.
    ///
    /// Without a demand this is one comparison: nothing older than the limit is served from memory, for then its stream
    /// or this whole node has slept, or those before it have (R21).
    #[inline]
    pub(super) fn proof(&self, slot: &ShardSlot, demand: &Demand, held: Held) -> Proof {
        if held.known.age(held.now) > self.max_age && !planted(Bug::AgeNeverExpires) {
            return Proof::Up(ReadResult::Aged);
        }
        if demand.freshness == Freshness::Any && demand.not_before.is_none() && demand.lineage.is_empty() {
            return Proof::Proved;
        }
        self.proof_of_all(slot, demand, held)
    }

    fn proof_of_all(&self, slot: &ShardSlot, demand: &Demand, held: Held) -> Proof {
        if let Some(reason) = not_from_here(demand.freshness) {
            return Proof::Up(reason);
        }
        if let Freshness::Within(limit) = demand.freshness
            && held.known.age(held.now) > micros(limit)
            && !planted(Bug::BoundIgnored)
        {
            return Proof::Up(ReadResult::Bounded);
        }
        if demand.not_before.is_some_and(|time| held.known.up_to() < time) && !planted(Bug::TimeFloorIgnored)
        {
            return Proof::Up(ReadResult::NotBefore);
        }
        self.proof_of_lineage(slot, &demand.lineage)
    }

    /// Whether the shard's history, as far as this node knows it, contains these positions (R19).
    pub(super) fn proof_of_lineage(&self, slot: &ShardSlot, positions: &[Position]) -> Proof {
        match slot.core.check_lineage(positions) {
            Ok(()) => Proof::Proved,
            Err(problem @ LineageProblem::Lost { end: Some(_), .. }) => {
                Proof::Lost(Error::new(ErrorCode::LostEpoch, problem.to_string()))
            }
            // From before this node's time: a leader may know.
            Err(LineageProblem::Lost { end: None, .. }) => Proof::Up(ReadResult::Lineage),
            Err(LineageProblem::Newer { .. }) => {
                self.ask_for_topology();
                Proof::Up(ReadResult::Lineage)
            }
        }
    }

    /// The rules by which memory answered, with their figures.
    #[cold]
    pub(super) fn rule(&self, slot: &ShardSlot, demand: &Demand, held: Held, as_of: Position) -> String {
        let age = as_duration(held.known.age(held.now));
        let mut rules = Vec::new();
        if let Some(token) = demand.at_least {
            let proof = if slot.core.position().seq < as_of.seq { "entry" } else { "watermark" };
            rules.push(format!("R21 AtLeast: {proof} {} >= {}", as_of.seq, token.seq));
        }
        if !demand.lineage.is_empty() {
            rules.push(format!("R19 lineage: {} in epoch {}", demand.lineage.len(), as_of.epoch));
        }
        if let Some(time) = demand.not_before {
            rules.push(format!("R19 floor: primary time {} >= {time}", held.known.up_to()));
        }
        if let Freshness::Within(limit) = demand.freshness {
            rules.push(format!("R21 Bounded: age {} of {}", Seconds(age), Seconds(Some(limit))));
        }
        if rules.is_empty() {
            rules.push(format!("R21 Local: age {} of {}", Seconds(age), Seconds(Some(self.options.max_age))));
        }
        rules.join("; ")
    }
}

/// A time as people read it.
struct Seconds(Option<Duration>);

impl Display for Seconds {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("unknown"),
            Some(Duration::MAX) => f.write_str("no limit"),
            Some(time) if time.subsec_millis() == 0 && time.as_secs() > 0 => {
                write!(f, "{} s", time.as_secs())
            }
            Some(time) => write!(f, "{:.2} s", time.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well() {
        let of = |time| Seconds(time).to_string();
        assert_eq!(of(Some(Duration::from_millis(312))), "0.31 s");
        assert_eq!(of(Some(Duration::from_secs(10))), "10 s");
        assert_eq!((of(Some(Duration::MAX)).as_str(), of(None).as_str()), ("no limit", "unknown"));
    }
}
