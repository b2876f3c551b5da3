//! The other side of an edge (R22).
//!
//! The ordering side's state reaches the other side on one of two roads: in the same transaction, or through an outbox
//! row and a later `InverseApply`. Each side that is written remembers the origin (epoch, seq) of what it holds: in the
//! edge row, or in a tombstone after a deletion. What comes through the outbox is applied only if its origin is newer;
//! what is written in the same transaction is the newest by construction, because the ordering shard's row is locked.

use tao_schema::error::{Error, Result};
use tao_schema::ids::{EdgeKey, Epoch, Position, Seq};
use tao_schema::ops::Effect;
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::EdgeValue;

use super::rows::{OutboxRow, Tombstone};
use super::workspace::Workspace;
use crate::write::Inverse;

impl Workspace<'_> {
    /// Brings the new state of `edge` to its other side, or leaves an outbox row that will.
    pub(super) fn settle_inverse(
        &mut self,
        edge: EdgeKey,
        inverse: Option<Inverse>,
        value: Option<&EdgeValue>,
    ) -> Result<()> {
        let Some(inverse) = inverse else { return Ok(()) };
        let other = edge.reversed(inverse.atype);
        // A symmetric edge to itself is one row.
        if other == edge {
            return Ok(());
        }
        let origin = self.next_position(edge.id1.shard())?;
        let same_shard = other.id1.shard() == origin.shard;
        // A pair written together once in this batch goes on so: all its states of this batch have one origin, and an
        // outbox row with an origin that the other side knows already would never be applied.
        let begun = self.known_origin(other).is_some_and(|known| known == (origin.epoch, origin.seq));
        if !same_shard && !begun && !self.locks.direct(edge, inverse) {
            let (epoch, seq) = (origin.epoch, origin.seq);
            let row = OutboxRow { inverse: inverse.atype, value: value.cloned(), epoch, seq };
            self.outbox.set(edge, Some(row))?;
            self.unit.pending.push(edge);
            return Ok(());
        }
        self.write_other(other, value, origin)?;
        // What an earlier transaction left to be brought over is overtaken (H28).
        if !same_shard && !planted(Bug::OvertakenRowStays) {
            self.outbox.set(edge, None)?;
        }
        Ok(())
    }

    /// A deletion found no edge. The pair's last state may still be on its way: that state is "deleted", too, so its
    /// outbox row stays as it is (a new origin would only make the other side do it again), and the caller waits for
    /// it as for its own, so that the ack never says less than an ack of the deletion itself would have said.
    /// Without such a row the other side knows the deletion already and nothing is written.
    pub(super) fn still_pending(&mut self, edge: EdgeKey, inverse: Option<Inverse>) -> Result<()> {
        let crosses = edge.id1.shard() != edge.id2.shard();
        if inverse.is_some() && crosses && self.outbox.get(&edge)?.is_some() {
            self.unit.pending.push(edge);
        }
        Ok(())
    }

    pub(super) fn inverse_apply(
        &mut self,
        edge: EdgeKey,
        value: Option<&EdgeValue>,
        origin: Position,
    ) -> Result<Effect> {
        if origin.shard != edge.id2.shard() || edge.id1.shard() == edge.id2.shard() {
            let message = format!("the origin {origin} does not order the pair {} {}", edge.id2, edge.id1);
            return Err(Error::internal(message));
        }
        // Old news: a late drainer, or the same row drained twice (H26).
        let known = self.known_origin(edge).filter(|_| !planted(Bug::OldInverseApplied));
        if known.is_some_and(|known| known >= (origin.epoch, origin.seq)) {
            return Ok(Effect::Nothing);
        }
        self.write_other(edge, value, origin)
    }

    pub(super) fn outbox_done(&mut self, edge: EdgeKey, origin: Position) -> Result<Effect> {
        let Some(row) = self.outbox.get(&edge)? else { return Ok(Effect::Nothing) };
        // A newer state has taken the row: it is still to be brought over.
        let newer = (row.epoch, row.seq) != (origin.epoch, origin.seq) && !planted(Bug::NewerRowRemoved);
        if newer || origin.shard != edge.id1.shard() {
            return Ok(Effect::Nothing);
        }
        self.outbox.set(edge, None)?;
        self.touch(edge.id1.shard());
        Ok(Effect::Deleted)
    }

    /// The origin of what the other side holds, as far as it remembers. Rows that were not read are unknown.
    fn known_origin(&self, other: EdgeKey) -> Option<(Epoch, Seq)> {
        let edge = self.edges.get(&other).ok().flatten().map(|row| (row.epoch, row.seq));
        let tombstone = self.tombstones.get(&other).ok().flatten().map(|row| (row.epoch, row.seq));
        edge.max(tombstone)
    }

    fn write_other(&mut self, other: EdgeKey, value: Option<&EdgeValue>, origin: Position) -> Result<Effect> {
        let crosses = other.id1.shard() != origin.shard;
        match value {
            Some(value) => {
                let effect = self.write_edge(other, value, origin)?;
                // From here the edge row remembers the origin.
                if crosses {
                    self.tombstones.set(other, None)?;
                }
                Ok(effect)
            }
            None => {
                let existed = self.remove_edge(other)?;
                if crosses && !planted(Bug::NoTombstone) {
                    let row = Tombstone { epoch: origin.epoch, seq: origin.seq, at: self.now };
                    self.tombstones.set(other, Some(row))?;
                    self.touch(other.id1.shard());
                }
                Ok(if existed { Effect::Deleted } else { Effect::Nothing })
            }
        }
    }
}
