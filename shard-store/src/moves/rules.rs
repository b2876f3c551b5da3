//! Which call does what in which state: both engines read under the lock of the shard row, ask here, and write.

use tao_schema::ids::{Epoch, Position, Seq, ShardId};
use tao_schema::rows::{EpochStart, ShardState};

use super::record::{
    Aborted, Answer, Committed, Copied, Fence, MoveId, MoveRecord, Outcome, Progress, Refusal, Role,
    ShardMoves,
};
use super::{AbortImport, BeginImport, BeginReverse, CommitImport, FenceShard, Import};
use crate::apply::LockedShard;
use crate::log::LogPosition;

/// What to do.
pub(crate) enum Ruling<T = ()> {
    /// Write this, then it is done.
    Write(Box<Change>, T),
    /// Nothing: the answer.
    Answer(Answer<T>),
}

/// Rows to write, in one transaction.
#[derive(Default)]
pub(crate) struct Change {
    /// The shard row; `None`: as it is.
    pub(crate) row: Option<LockedShard>,
    /// Rows of `shard_move`.
    pub(crate) records: Vec<MoveRecord>,
    /// A new row of `epoch_history`.
    pub(crate) opened: Option<EpochStart>,
    /// The row takes a seq of the shard's log, so it gets a request row (R3).
    pub(crate) advances: bool,
}

type Ruled<T = ()> = Result<Ruling<T>, Refusal>;

impl<T> Ruling<T> {
    fn write(change: Change, value: T) -> Ruled<T> {
        Ok(Self::Write(Box::new(change), value))
    }

    fn already(value: T) -> Ruled<T> {
        Ok(Self::Answer(Answer::AlreadyDone(value)))
    }

    /// A refusal is an answer.
    pub(crate) fn of(ruled: Ruled<T>) -> Self {
        ruled.unwrap_or_else(|refusal| Self::Answer(Answer::Refused(refusal)))
    }
}

fn state(row: Option<&LockedShard>) -> Refusal {
    Refusal::State(row.map(|row| (row.epoch, row.state)))
}

/// The record of the move, which this server must be the `role` of, and which must not be over.
fn running(found: &ShardMoves, id: MoveId, role: Role) -> Result<&MoveRecord, Refusal> {
    let record = found.of(id).ok_or(Refusal::UnknownMove)?;
    if record.role != role {
        return Err(Refusal::WrongRole(record.role));
    }
    match record.outcome {
        Outcome::Running => Ok(record),
        Outcome::Committed => Err(Refusal::Committed),
        Outcome::Aborted => Err(Refusal::Aborted),
    }
}

/// The running move that has the shard here, if it is not `id`.
fn owner(found: &ShardMoves, id: MoveId) -> Option<MoveId> {
    let running = found.moves.iter().filter(|record| record.outcome == Outcome::Running);
    running.map(|record| record.move_id).find(|running| *running != id)
}

/// The shard row, importing in the move's epoch.
fn importing<'a>(found: &'a ShardMoves, record: &MoveRecord) -> Result<&'a LockedShard, Refusal> {
    let row = found.row.as_ref();
    row.filter(|row| row.state == ShardState::Importing && row.epoch == record.epoch)
        .ok_or_else(|| state(row))
}

/// See [`super::ShardMover::begin_import`]. `any_rows`: whether a table holds a row of the shard.
pub(crate) fn begin(found: &ShardMoves, any_rows: bool, begin: &BeginImport) -> Ruled {
    if found.of(begin.move_id).is_some() {
        let record = running(found, begin.move_id, Role::Target)?;
        importing(found, record)?;
        return Ruling::already(());
    }
    if let Some(row) = &found.row {
        match row.state {
            ShardState::Gone | ShardState::Aborted => {}
            ShardState::Importing => {
                let other = owner(found, begin.move_id);
                return Err(other.map_or_else(|| state(Some(row)), Refusal::OtherMove));
            }
            ShardState::Serving | ShardState::Fenced => return Err(state(Some(row))),
        }
        if row.epoch >= begin.epoch {
            return Err(Refusal::Epoch(row.epoch));
        }
    }
    if any_rows {
        return Err(Refusal::RowsExist);
    }
    // Seq 0 until the commit: a leader that asks about requests meanwhile must not take those that are not copied yet for
    // known (R3).
    let row = LockedShard {
        shard: begin.shard,
        epoch: begin.epoch,
        seq: Seq::ZERO,
        state: ShardState::Importing,
        next_id: 1,
    };
    let progress = Progress {
        copied: Copied::NOTHING,
        applied: begin.applied,
        position: begin.position.clone(),
        step: 0,
    };
    let record = target(begin.shard, begin.move_id, begin.epoch, &begin.source, progress);
    Ruling::write(Change { row: Some(row), records: vec![record], ..Change::default() }, ())
}

fn target(shard: ShardId, move_id: MoveId, epoch: Epoch, peer: &str, progress: Progress) -> MoveRecord {
    let (role, outcome, peer) = (Role::Target, Outcome::Running, peer.to_owned());
    MoveRecord { shard, move_id, role, epoch, peer, outcome, progress }
}

/// See [`super::ShardMover::import`].
pub(crate) fn import(found: &ShardMoves, import: &Import) -> Ruled {
    let record = running(found, import.move_id, Role::Target)?;
    let row = importing(found, record)?;
    if record.progress == import.progress {
        return Ruling::already(());
    }
    if record.progress.step != import.step {
        return Err(Refusal::Step(record.progress.step));
    }
    // The shard row goes with each transaction, so that a tail knows whose rows they are (R2, R9): its seq stays, so the id
    // allocator, which means nothing before the commit, counts.
    let row = LockedShard { next_id: row.next_id + 1, ..*row };
    let record = MoveRecord { progress: import.progress.clone(), ..record.clone() };
    Ruling::write(Change { row: Some(row), records: vec![record], ..Change::default() }, ())
}

/// See [`super::ShardMover::fence`].
pub(crate) fn fence(found: &ShardMoves, fence: &FenceShard) -> Ruled<Fence> {
    let Some(row) = &found.row else { return Err(state(None)) };
    if found.of(fence.move_id).is_some() {
        // After a rollback the fence of a worker that was replaced comes too late.
        let record = running(found, fence.move_id, Role::Source)?;
        return if row.state == ShardState::Fenced && row.epoch == record.epoch {
            Ruling::already(fence_of(row))
        } else {
            Err(state(Some(row)))
        };
    }
    if (row.state, row.epoch) != (ShardState::Serving, fence.epoch) {
        return Err(state(Some(row)));
    }
    let row = LockedShard { state: ShardState::Fenced, seq: row.seq.next(), ..*row };
    let record = source(fence.move_id, &row, &fence.target, Outcome::Running);
    let change = Change { row: Some(row), records: vec![record], opened: None, advances: true };
    Ruling::write(change, fence_of(&row))
}

fn fence_of(row: &LockedShard) -> Fence {
    let at = Position { shard: row.shard, epoch: row.epoch, seq: row.seq };
    Fence { at, next_id: row.next_id }
}

fn source(move_id: MoveId, row: &LockedShard, peer: &str, outcome: Outcome) -> MoveRecord {
    let progress =
        Progress { copied: Copied::NOTHING, applied: row.seq, position: LogPosition::none(), step: 0 };
    let (role, peer) = (Role::Source, peer.to_owned());
    MoveRecord { shard: row.shard, move_id, role, epoch: row.epoch, peer, outcome, progress }
}

/// See [`super::ShardMover::unfence`].
pub(crate) fn unfence(found: &ShardMoves, proof: &Aborted) -> Ruled {
    let Some(row) = &found.row else { return Err(state(None)) };
    let Some(record) = found.of(proof.move_id) else {
        // Never fenced: nor will it be.
        let mark = source(proof.move_id, row, "", Outcome::Aborted);
        return Ruling::write(Change { records: vec![mark], ..Change::default() }, ());
    };
    if (record.role, record.outcome) == (Role::Source, Outcome::Aborted) {
        return Ruling::already(());
    }
    let record = running(found, proof.move_id, Role::Source)?;
    if (row.state, row.epoch) != (ShardState::Fenced, record.epoch) {
        return Err(state(Some(row)));
    }
    let row = LockedShard { state: ShardState::Serving, seq: row.seq.next(), ..*row };
    let record = MoveRecord { outcome: Outcome::Aborted, ..record.clone() };
    let change = Change { row: Some(row), records: vec![record], opened: None, advances: true };
    Ruling::write(change, ())
}

/// See [`super::ShardMover::commit_import`].
pub(crate) fn commit(found: &ShardMoves, commit: &CommitImport) -> Ruled<Committed> {
    let record = found.of(commit.move_id).ok_or(Refusal::UnknownMove)?;
    if (record.role, record.outcome) == (Role::Target, Outcome::Committed) {
        return Ruling::already(committed(record));
    }
    let record = running(found, commit.move_id, Role::Target)?;
    let row = importing(found, record)?;
    let fence = commit.fence;
    if record.epoch != commit.epoch || fence.epoch >= commit.epoch || fence.shard != commit.shard {
        return Err(Refusal::Epoch(record.epoch));
    }
    if record.progress.copied != Copied::ALL || record.progress.applied != fence.seq {
        return Err(Refusal::NotDrained(record.progress.applied));
    }
    let first_seq = fence.seq.next();
    let row = LockedShard { seq: first_seq, state: ShardState::Serving, next_id: commit.next_id, ..*row };
    let progress = Progress { position: commit.executed.clone(), ..record.progress.clone() };
    let record = MoveRecord { outcome: Outcome::Committed, progress, ..record.clone() };
    let proof = committed(&record);
    let opened = Some(EpochStart { epoch: row.epoch, first_seq });
    Ruling::write(Change { row: Some(row), records: vec![record], opened, advances: true }, proof)
}

fn committed(record: &MoveRecord) -> Committed {
    let seq = record.progress.applied.next();
    let at = Position { shard: record.shard, epoch: record.epoch, seq };
    Committed { move_id: record.move_id, at, reverse_from: record.progress.position.clone() }
}

/// See [`super::ShardMover::abort_import`].
pub(crate) fn abort(found: &ShardMoves, abort: &AbortImport) -> Ruled<Aborted> {
    let proof = Aborted { shard: abort.shard, move_id: abort.move_id, epoch: abort.epoch };
    let Some(record) = found.of(abort.move_id) else {
        // Never begun: nor will it be. The shard's row, if there is one, is another's.
        let progress =
            Progress { copied: Copied::NOTHING, applied: Seq::ZERO, position: LogPosition::none(), step: 0 };
        let record = target(abort.shard, abort.move_id, abort.epoch, &abort.source, progress);
        let record = MoveRecord { outcome: Outcome::Aborted, ..record };
        return Ruling::write(Change { records: vec![record], ..Change::default() }, proof);
    };
    if (record.role, record.outcome) == (Role::Target, Outcome::Aborted) {
        return Ruling::already(proof);
    }
    let record = running(found, abort.move_id, Role::Target)?;
    let row = importing(found, record)?;
    let row = LockedShard { state: ShardState::Aborted, ..*row };
    let record = MoveRecord { outcome: Outcome::Aborted, ..record.clone() };
    Ruling::write(Change { row: Some(row), records: vec![record], ..Change::default() }, proof)
}

/// See [`super::ShardMover::begin_reverse`].
pub(crate) fn reverse(found: &ShardMoves, reverse: &BeginReverse) -> Ruled {
    let Committed { move_id, at, reverse_from } = &reverse.committed;
    if found.of(reverse.move_id).is_some() {
        let record = running(found, reverse.move_id, Role::Target)?;
        importing(found, record)?;
        return Ruling::already(());
    }
    let record = running(found, *move_id, Role::Source)?;
    let row = found.row.as_ref();
    let fenced = |row: &&LockedShard| (row.state, row.epoch) == (ShardState::Fenced, record.epoch);
    let row = row.filter(fenced).ok_or_else(|| state(row))?;
    if reverse.epoch <= at.epoch {
        return Err(Refusal::Epoch(at.epoch));
    }
    // A seq, so that the log tells that the shard is not read here any more (R9).
    let new = LockedShard { epoch: reverse.epoch, seq: row.seq.next(), state: ShardState::Importing, ..*row };
    // All rows up to the fence are here. What the target's commit wrote, the seq behind it, comes with the stream.
    let progress =
        Progress { copied: Copied::ALL, applied: row.seq, position: reverse_from.clone(), step: 0 };
    let back = target(row.shard, reverse.move_id, reverse.epoch, &reverse.source, progress);
    let forth = MoveRecord { outcome: Outcome::Committed, ..record.clone() };
    Ruling::write(Change { row: Some(new), records: vec![forth, back], ..Change::default() }, ())
}

/// See [`super::ShardMover::retire`].
pub(crate) fn retire(found: &ShardMoves, proof: &Committed) -> Ruled {
    let record = found.of(proof.move_id).ok_or(Refusal::UnknownMove)?;
    if record.role != Role::Source {
        return Err(Refusal::WrongRole(record.role));
    }
    if record.outcome == Outcome::Aborted {
        return Err(Refusal::Aborted);
    }
    let Some(row) = &found.row else { return Err(state(None)) };
    let mut records = vec![MoveRecord { outcome: Outcome::Committed, ..record.clone() }];
    match row.state {
        ShardState::Gone => return Ruling::already(()),
        ShardState::Fenced if record.outcome == Outcome::Running && row.epoch == record.epoch => {}
        ShardState::Importing => {
            // The stream back of this very move ends; a move to here that began later is not ours to end.
            let back = found.moves.iter().find(|back| {
                back.outcome == Outcome::Running && back.role == Role::Target && back.epoch == row.epoch
            });
            let back =
                back.filter(|_| record.outcome == Outcome::Committed).ok_or_else(|| state(Some(row)))?;
            records.push(MoveRecord { outcome: Outcome::Aborted, ..back.clone() });
        }
        _ => return Err(state(Some(row))),
    }
    let row = LockedShard { state: ShardState::Gone, seq: row.seq.next(), ..*row };
    Ruling::write(Change { row: Some(row), records, ..Change::default() }, ())
}

/// See [`super::ShardMover::delete_range`].
pub(crate) fn delete(found: &ShardMoves) -> Ruled {
    let row = found.row.as_ref();
    let left = |row: &&LockedShard| matches!(row.state, ShardState::Gone | ShardState::Aborted);
    let row = row.filter(left).ok_or_else(|| state(row))?;
    // As in `import`: a tail that begins before this must know whose rows they are.
    let row = LockedShard { next_id: row.next_id + 1, ..*row };
    Ruling::write(Change { row: Some(row), ..Change::default() }, ())
}
