//! Who leaves a batch before anything is read: no lock, not the owner, done before, too late (steps 2-4 of
//! [`ShardStore::commit`](crate::ShardStore::commit)).

use std::collections::HashMap;

use tao_schema::error::{Error, ErrorCode};
use tao_schema::ids::{RequestId, ShardId};

use super::locks::{Lock, Locks};
use super::requests::Lookup;
use crate::write::{MAX_RETRY_AGE, RequestKey, UnitDone, UnitResult, WriteUnit};

/// What becomes of a unit before rows are read.
#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    /// It runs.
    Proceed,
    /// It has its answer.
    Answered(UnitResult),
    /// It is the same request as an earlier unit of the batch, by index, and gets that one's outcome (H5).
    SameAs(usize),
}

/// The verdict on each unit, in order.
#[derive(Clone, PartialEq, Debug)]
pub struct Admission(Vec<Verdict>);

impl Admission {
    /// Judges all units. `lookup` answers from the shard's [`RecentRequests`](super::RecentRequests), which must know
    /// the request rows up to the locked seq.
    pub fn of(
        units: &[WriteUnit],
        locks: &Locks,
        mut lookup: impl FnMut(ShardId, RequestKey) -> Lookup,
    ) -> Self {
        let mut seen: HashMap<(ShardId, RequestId), usize> = HashMap::new();
        let verdicts = units.iter().enumerate().map(|(index, unit)| {
            match locks.get(unit.shard) {
                Lock::Busy => return Verdict::Answered(UnitResult::Busy),
                Lock::Missing => return Verdict::Answered(UnitResult::NotOwned { found: None }),
                Lock::Held(row) if locks.granted(unit.shard, unit.epoch).is_none() => {
                    let found = Some((row.epoch, row.state));
                    return Verdict::Answered(UnitResult::NotOwned { found });
                }
                Lock::Held(_) => {}
            }
            let Some(key) = unit.request else { return Verdict::Proceed };
            if let Some(first) = seen.get(&(unit.shard, key.id)) {
                return Verdict::SameAs(*first);
            }
            match lookup(unit.shard, key) {
                Lookup::New => {
                    seen.insert((unit.shard, key.id), index);
                    Verdict::Proceed
                }
                Lookup::Known(done) => Verdict::Answered(UnitResult::Done(done)),
                Lookup::TooLate => Verdict::Answered(UnitResult::Refused(too_late(key))),
            }
        });
        Self(verdicts.collect())
    }

    /// Whether any unit runs; if not, there is nothing to read.
    pub fn any_proceeds(&self) -> bool {
        self.0.contains(&Verdict::Proceed)
    }

    /// Units that run.
    pub(super) fn proceeding<'a>(&'a self, units: &'a [WriteUnit]) -> impl Iterator<Item = &'a WriteUnit> {
        units.iter().zip(&self.0).filter(|(_, verdict)| **verdict == Verdict::Proceed).map(|(unit, _)| unit)
    }

    pub(super) fn into_verdicts(self) -> Vec<Verdict> {
        self.0
    }
}

fn too_late(key: RequestKey) -> Error {
    let message = format!(
        "request {} is retried {} s after its first attempt and its outcome is not known any more (kept for retries \
         up to {} s): read, then decide",
        key.id,
        key.age.as_secs(),
        MAX_RETRY_AGE.as_secs()
    );
    Error::new(ErrorCode::RetryTooLate, message)
}

/// The first attempt's answer as a retry gets it.
pub(super) fn replay(done: &UnitDone) -> UnitDone {
    UnitDone { pending: Vec::new(), replayed: true, ..done.clone() }
}
