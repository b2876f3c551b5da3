//! The edges of a large batch are not read, but presumed absent, and that is checked where they are written.
//!
//! To read them costs as much as a fifth of the transaction, and mostly finds none. Under the lock of their shards the statement
//! that puts them says how many were there: a row that is inserted counts 1, one that is overwritten 2. (None counts 0, as one
//! that is the same would: each has a position that is new.) Only what is put is presumed; an edge that anything else is done with
//! is read, and so are all of them if a unit is refused, for an edge might be the reason. If an edge was there after all, nothing
//! of the transaction is kept and it is done again, with all read: so nothing is answered from a presumption.

use std::collections::BTreeSet;
use std::time::Instant;

use tao_schema::ids::EdgeKey;
use tao_schema::planted::{Bug, planted};

use super::batch_write::FEW_ROWS;
use super::connection::Lease;
use super::timings::Phase;
use super::trust::Trust;
use super::{Inner, batch_read};
use crate::apply::{Admission, Locks, Plan, ReadSet, UnixMillis, Workspace};
use crate::store::StoreError;
use crate::write::WriteUnit;

/// A batch done twice costs about as much as sixteen spare by not reading.
pub(super) fn trust() -> Trust {
    Trust::new(16)
}

/// Reads and plans with as many edges presumed absent as may be; `None` if that does not pay, or a unit is refused.
pub(super) async fn plan(
    inner: &Inner,
    lease: &mut Lease,
    (units, admission, locks): (&[WriteUnit], &Admission, &Locks),
    (set, now): (&ReadSet, UnixMillis),
    clock: &mut Instant,
) -> Result<Option<Plan>, StoreError> {
    if set.edges.len() <= FEW_ROWS {
        return Ok(None);
    }
    let read = ReadSet::edges_not_only_put(units, admission, locks);
    if set.edges.len() - read.len() <= FEW_ROWS || !inner.absence.is_due() {
        return Ok(None);
    }
    let mut workspace = Workspace::new(locks, set, now);
    batch_read::read(lease, set, &read, &mut workspace).await?;
    inner.timings.lap(Phase::Read, clock);
    let plan = workspace.run(units, admission.clone());
    inner.timings.lap(Phase::Plan, clock);
    Ok(is_said(&plan, set, &read).then_some(plan))
}

/// Whether each edge that was presumed absent is put, so that writing it will say whether it was.
fn is_said(plan: &Plan, set: &ReadSet, read: &BTreeSet<EdgeKey>) -> bool {
    let presumed = plan.edges.puts.iter().filter(|(edge, _)| !read.contains(edge));
    presumed.count() == set.edges.len() - read.len()
}

/// Whether writing the edges of a plan affected as many rows as it does if those presumed absent were.
pub(super) fn came_true(plan: &Plan, affected: u64) -> bool {
    affected == (plan.edges.puts.len() + plan.edges.overwrites) as u64 || planted(Bug::PresenceOverlooked)
}
