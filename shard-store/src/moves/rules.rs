//! Which call does what in which state: both engines read under the lock of the shard row, ask here, and write.

use tao_schema::ids::{Epoch, Position, Seq};
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::{EpochStart, ShardState};

use super::record::{
    Aborted, Answer, Committed, Copied, Fence, MoveId, MoveRecord, NEVER, Outcome, Progress, Refusal, Role,
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
        Outcome::Committed | Outcome::Retired => Err(Refusal::Committed),
        Outcome::Aborted => Err(Refusal::Aborted),
    }
}

/// Ids only grow: whoever still asks for a move below one that this server knows was replaced, and comes too late (H29).
fn not_late(found: &ShardMoves, id: MoveId) -> Result<(), Refusal> {
    match found.moves.last() {
        Some(newest) if newest.move_id > id && !planted(Bug::MoveIdReused) => {
            Err(Refusal::OtherMove(newest.move_id))
        }
        _ => Ok(()),
    }
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
    not_late(found, begin.move_id)?;
    let (row, progress, mut records) = match begin.continues {
        Some(before) => continued(found, before)?,
        None => afresh(found, any_rows, begin)?,
    };
    records.push(target(&row, begin.move_id, &begin.source, progress));
    Ruling::write(Change { row: Some(row), records, ..Change::default() }, ())
}

type Begun = (LockedShard, Progress, Vec<MoveRecord>);

fn afresh(found: &ShardMoves, any_rows: bool, begin: &BeginImport) -> Result<Begun, Refusal> {
    if let Some(row) = &found.row {
        match row.state {
            ShardState::Gone | ShardState::Aborted => {}
            ShardState::Importing => {
                let other = found.moves.iter().rfind(|record| record.outcome == Outcome::Running);
                return Err(other.map_or_else(|| state(Some(row)), |other| Refusal::OtherMove(other.move_id)));
            }
            ShardState::Serving | ShardState::Fenced => return Err(state(Some(row))),
        }
        if row.epoch > begin.applied.epoch {
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
        epoch: begin.applied.epoch,
        seq: Seq::ZERO,
        state: ShardState::Importing,
        next_id: 1,
    };
    let (applied, position) = (begin.applied, begin.position.clone());
    Ok((row, Progress { copied: Copied::NOTHING, applied, position, step: 0 }, left(found)))
}

/// The rows are exactly those of what was applied when the move `before` was aborted, because nobody writes to an aborted
/// shard, and whoever deletes of it says so in its state.
fn continued(found: &ShardMoves, before: MoveId) -> Result<Begun, Refusal> {
    let record = found.of(before).ok_or(Refusal::UnknownMove)?;
    if record.role != Role::Target {
        return Err(Refusal::WrongRole(record.role));
    }
    if record.outcome == Outcome::Committed {
        return Err(Refusal::Committed);
    }
    let row = found.row.as_ref();
    let row = row.filter(|row| row.state == ShardState::Aborted).ok_or_else(|| state(row))?;
    let last = found.moves.iter().rfind(|record| record.role == Role::Target && record.began());
    match last {
        Some(last) if last.move_id == before || planted(Bug::GoesOnWithOlderProgress) => {}
        Some(last) => return Err(Refusal::OtherMove(last.move_id)),
        None => return Err(Refusal::UnknownMove),
    }
    Ok((LockedShard { state: ShardState::Importing, ..*row }, record.progress.clone(), Vec::new()))
}

/// The moves from here whose rows are not here any more.
fn left(found: &ShardMoves) -> Vec<MoveRecord> {
    let committed =
        |record: &&MoveRecord| (record.role, record.outcome) == (Role::Source, Outcome::Committed);
    let moves = found.moves.iter().filter(committed);
    moves.map(|record| MoveRecord { outcome: Outcome::Retired, ..record.clone() }).collect()
}

fn target(row: &LockedShard, move_id: MoveId, peer: &str, progress: Progress) -> MoveRecord {
    let (role, outcome, peer) = (Role::Target, Outcome::Running, peer.to_owned());
    MoveRecord { shard: row.shard, move_id, role, epoch: row.epoch, peer, outcome, progress }
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
    not_late(found, fence.move_id)?;
    if (row.state, row.epoch) != (ShardState::Serving, fence.epoch) {
        return Err(state(Some(row)));
    }
    let row = LockedShard { state: ShardState::Fenced, seq: row.seq.next(), ..*row };
    let record = source(fence.move_id, &row, &fence.target);
    let change = Change { row: Some(row), records: vec![record], opened: None, advances: true };
    Ruling::write(change, fence_of(&row))
}

fn fence_of(row: &LockedShard) -> Fence {
    Fence { at: here(row), next_id: row.next_id }
}

fn here(row: &LockedShard) -> Position {
    Position { shard: row.shard, epoch: row.epoch, seq: row.seq }
}

fn source(move_id: MoveId, row: &LockedShard, peer: &str) -> MoveRecord {
    let progress = nothing(here(row));
    let (role, outcome, peer) = (Role::Source, Outcome::Running, peer.to_owned());
    MoveRecord { shard: row.shard, move_id, role, epoch: row.epoch, peer, outcome, progress }
}

fn nothing(applied: Position) -> Progress {
    Progress { copied: Copied::NOTHING, applied, position: LogPosition::none(), step: 0 }
}

/// See [`super::ShardMover::unfence`].
pub(crate) fn unfence(found: &ShardMoves, proof: &Aborted) -> Ruled<Position> {
    let Some(row) = &found.row else { return Err(state(None)) };
    let Some(record) = found.of(proof.move_id) else {
        // Never fenced: nor will it be.
        let mark = source(proof.move_id, row, "");
        let mark = MoveRecord { epoch: NEVER, outcome: Outcome::Aborted, ..mark };
        return Ruling::write(Change { records: vec![mark], ..Change::default() }, here(row));
    };
    if (record.role, record.outcome) == (Role::Source, Outcome::Aborted) {
        return Ruling::already(if record.began() { reopened(record) } else { here(row) });
    }
    let record = running(found, proof.move_id, Role::Source)?;
    if (row.state, row.epoch) != (ShardState::Fenced, record.epoch) {
        return Err(state(Some(row)));
    }
    let at = reopened(record);
    let opened = EpochStart { epoch: at.epoch, first_seq: at.seq };
    let row = LockedShard { state: ShardState::Serving, epoch: at.epoch, seq: at.seq, ..*row };
    let record = MoveRecord { outcome: Outcome::Aborted, ..record.clone() };
    let change = Change { row: Some(row), records: vec![record], opened: Some(opened), advances: true };
    Ruling::write(change, at)
}

/// The epoch after the next one: a commit of this move may have opened the next one on a server that is gone.
fn reopened(record: &MoveRecord) -> Position {
    let Position { shard, epoch, seq } = record.progress.applied;
    let on = if planted(Bug::UnfenceKeepsEpoch) { 0 } else { 2 };
    Position { shard, epoch: Epoch(epoch.0 + on), seq: seq.next() }
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
    let drained = record.progress.copied == Copied::ALL && record.progress.applied == fence;
    if !drained && !planted(Bug::CommitWithoutFence) {
        return Err(Refusal::NotDrained(record.progress.applied));
    }
    // The fence's, which may be newer than when the move began.
    let (epoch, first_seq) = (Epoch(fence.epoch.0 + 1), fence.seq.next());
    let (state, next_id) = (ShardState::Serving, commit.next_id);
    let row = LockedShard { epoch, seq: first_seq, state, next_id, ..*row };
    let progress = Progress { position: commit.executed.clone(), ..record.progress.clone() };
    let record = MoveRecord { outcome: Outcome::Committed, epoch, progress, ..record.clone() };
    let proof = committed(&record);
    let opened = Some(EpochStart { epoch, first_seq });
    Ruling::write(Change { row: Some(row), records: vec![record], opened, advances: true }, proof)
}

fn committed(record: &MoveRecord) -> Committed {
    let seq = record.progress.applied.seq.next();
    let at = Position { shard: record.shard, epoch: record.epoch, seq };
    Committed { move_id: record.move_id, at, reverse_from: record.progress.position.clone() }
}

/// See [`super::ShardMover::abort_import`].
pub(crate) fn abort(found: &ShardMoves, abort: &AbortImport) -> Ruled<Aborted> {
    let (shard, move_id) = (abort.shard, abort.move_id);
    let proof = Aborted { shard, move_id };
    let Some(record) = found.of(abort.move_id) else {
        // Never begun: nor will it be. The shard's row, if there is one, is another's.
        let progress = nothing(Position { shard, epoch: NEVER, seq: Seq::ZERO });
        let (role, outcome, peer) = (Role::Target, Outcome::Aborted, abort.source.clone());
        let record = MoveRecord { shard, move_id, role, epoch: NEVER, peer, outcome, progress };
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
    let Committed { move_id, at: _, reverse_from } = &reverse.committed;
    if found.of(reverse.move_id).is_some() {
        let record = running(found, reverse.move_id, Role::Target)?;
        importing(found, record)?;
        return Ruling::already(());
    }
    not_late(found, reverse.move_id)?;
    let record = running(found, *move_id, Role::Source)?;
    let row = found.row.as_ref();
    let fenced = |row: &&LockedShard| (row.state, row.epoch) == (ShardState::Fenced, record.epoch);
    let row = row.filter(fenced).ok_or_else(|| state(row))?;
    // A seq, so that the log tells that the shard is not read here any more (R9).
    let new = LockedShard { seq: row.seq.next(), state: ShardState::Importing, ..*row };
    // All rows up to the fence are here. What the target's commit wrote, the seq behind it, comes with the stream.
    let (applied, position) = (here(row), reverse_from.clone());
    let progress = Progress { copied: Copied::ALL, applied, position, step: 0 };
    let back = target(&new, reverse.move_id, &reverse.source, progress);
    let forth = MoveRecord { outcome: Outcome::Committed, ..record.clone() };
    Ruling::write(Change { row: Some(new), records: vec![forth, back], ..Change::default() }, ())
}

/// See [`super::ShardMover::retire`].
pub(crate) fn retire(found: &ShardMoves, proof: &Committed) -> Ruled {
    let record = found.of(proof.move_id).ok_or(Refusal::UnknownMove)?;
    if record.role != Role::Source {
        return Err(Refusal::WrongRole(record.role));
    }
    let row = found.row.as_ref().ok_or_else(|| state(None))?;
    let mut records = vec![MoveRecord { outcome: Outcome::Retired, ..record.clone() }];
    match (record.outcome, row.state) {
        // Whatever the shard is here since: that is another move's.
        (Outcome::Retired, _) => return Ruling::already(()),
        (Outcome::Aborted, _) => return Err(Refusal::Aborted),
        (Outcome::Running, ShardState::Fenced) if row.epoch == record.epoch => {}
        (Outcome::Committed, ShardState::Aborted) => {}
        // The stream back ends. It is one of this very move: a move that came after the rows went marked this one.
        (Outcome::Committed, ShardState::Importing) => {
            let back = found.moves.iter().rfind(|back| back.outcome == Outcome::Running);
            let back = back.ok_or_else(|| state(Some(row)))?;
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
    let away = |row: &&LockedShard| matches!(row.state, ShardState::Gone | ShardState::Aborted);
    let row = row.filter(away).ok_or_else(|| state(row))?;
    // As in `import`: a tail that begins before this must know whose rows they are. Gone: nobody may go on from these rows.
    let row = LockedShard { next_id: row.next_id + 1, state: ShardState::Gone, ..*row };
    Ruling::write(Change { row: Some(row), records: left(found), ..Change::default() }, ())
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
