//! The beginning and the ends of a move: the target's row, the stream back, retirement, deletion.

use std::time::Duration;

use tao_schema::rows::ShardState;
use tao_shard_store::moves::{
    Answer, BeginImport, BeginReverse, MoveId, MoveState, Outcome, Refusal, Role, ShardMover, ShardMoves,
    starting_point,
};

use super::decide::Sight;
use super::error::{Done, Halt, MoveError};
use super::ground::Server;
use super::step::Step;
use super::worker::{Next, Worker};

/// Between two pieces that are deleted.
const BETWEEN_DELETES: Duration = Duration::from_millis(20);
/// Between two looks at a grace time.
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Worker<'_> {
    /// Looks at everything once more, and makes the target's row.
    pub(super) async fn begin(&mut self, sight: &Sight) -> Done<Next> {
        let at = self.entry.at.clone();
        let source = self.primary(at.source).await?;
        let target = self.primary(at.target).await?;
        let continues = continued(&sight.target);
        if continues.is_none() {
            let options = self.options();
            let plan = self.ground.preflight(self.shard, at.source, at.target, &options).await?;
            plan.accepted()?;
            self.clean_leftovers(sight, &target).await?;
            self.notes.rows_total = plan.rows;
            self.notes.rows_copied = 0;
            self.notes.bytes_copied = 0;
            self.notes.copy_ms = 0;
            self.notes.verified_at = None;
        }
        self.at(Step::Planned).await?;
        let (position, applied) = starting_point(&source.store, self.shard, self.beat_writer()).await?;
        let begin = BeginImport {
            shard: self.shard,
            move_id: at.attempt,
            source: at.source.to_string(),
            applied,
            position,
            continues,
        };
        match target.store.begin_import(begin).await? {
            Answer::Done(()) | Answer::AlreadyDone(()) => {}
            Answer::Refused(Refusal::RowsExist) => {
                return Err(MoveError::refused(format!(
                    "shard {}: host group {} holds rows of it that no move brought there: find out whose they are, and delete \
                     them",
                    self.shard, at.target
                ))
                .into());
            }
            // The id is below one that a server knows: another one.
            Answer::Refused(Refusal::OtherMove(_) | Refusal::Aborted) => {
                self.entry.at.attempt = self.new_id().await?;
                self.note_state(MoveState::Planned).await?;
                return Ok(Next::Again);
            }
            Answer::Refused(refusal) => return Err(refusal.into()),
        }
        self.note_state(MoveState::Copying).await?;
        self.at(Step::Importing).await?;
        Ok(Next::Again)
    }

    /// What a former move left on the target, whose deletion was not finished.
    async fn clean_leftovers(&mut self, sight: &Sight, target: &Server) -> Done {
        let state = sight.target.row.map(|row| row.state);
        if matches!(state, Some(ShardState::Gone | ShardState::Aborted)) {
            self.clean(target).await?;
        }
        Ok(())
    }

    /// Deletes, in pieces, all rows of the shard on a server where it is gone or aborted.
    pub(super) async fn clean(&mut self, server: &Server) -> Done {
        loop {
            self.check_lease()?;
            self.at(Step::Delete).await?;
            let rows = usize::try_from(self.options().delete_rows).unwrap_or(1);
            let gone = server.store.delete_range(self.shard, rows).await?.accepted()?;
            if gone == 0 {
                return Ok(());
            }
            self.notes.rows_deleted += gone;
            self.tell(None);
            tokio::time::sleep(BETWEEN_DELETES).await;
        }
    }

    /// After the commit: its replicas, the topology, the stream back. Each of it may have been done before.
    pub(super) async fn roll_forward(&mut self, sight: &Sight) -> Done<Next> {
        let at = self.entry.at.clone();
        let options = self.options();
        let (source, target) = (self.primary(at.source).await?, self.primary(at.target).await?);
        let replicas = self.ground.replicas(at.target, &options).await?;
        let proof = self.proof(sight, &target).await?;
        self.replicated(&replicas, at.attempt, Role::Target, Outcome::Committed).await?;
        self.at(Step::BeforeRelease).await?;
        self.release(at.target).await?;
        self.at(Step::AfterRelease).await?;
        let back = match at.back.filter(|back| *back > at.attempt) {
            Some(back) => back,
            None => {
                let back = self.new_id().await?;
                self.entry.at.back = Some(back);
                self.note(true).await?;
                back
            }
        };
        self.at(Step::BeforeBeginReverse).await?;
        let reverse = BeginReverse { committed: proof, move_id: back, source: at.target.to_string() };
        match source.store.begin_reverse(reverse).await? {
            Answer::Done(()) | Answer::AlreadyDone(()) => {}
            Answer::Refused(Refusal::OtherMove(_)) => {
                self.entry.at.back = Some(self.new_id().await?);
                self.note(true).await?;
                return Ok(Next::Again);
            }
            Answer::Refused(refusal) => return Err(refusal.into()),
        }
        self.at(Step::AfterBeginReverse).await?;
        self.notes.error = None;
        self.notes.throttled = None;
        self.note_state(MoveState::Reversible).await?;
        Ok(Next::Again)
    }

    /// The stream back becomes the move. What the servers know of it stays as it is.
    pub(super) async fn turn_round(&mut self) -> Done<Next> {
        let at = &mut self.entry.at;
        let back = at.back.take().ok_or_else(|| Halt::LookAgain("there is no stream back".to_owned()))?;
        at.attempt = back;
        std::mem::swap(&mut at.source, &mut at.target);
        self.notes.verified_at = None;
        self.rehearsals.clear();
        self.failed = 0;
        self.note_state(MoveState::Replicating).await?;
        self.at(Step::Turned).await?;
        Ok(Next::Again)
    }

    /// The side that does not serve gives up its rows: first its row says so, with a first deletion, then slowly the rest.
    pub(super) async fn finalize(&mut self, sight: &Sight) -> Done<Next> {
        let orders = self.orders();
        let (source, target) =
            (self.primary(self.entry.at.source).await?, self.primary(self.entry.at.target).await?);
        if sight.source.row.map(|row| row.state) != Some(ShardState::Gone) {
            if let Some(why) = self.notes.reverse_broken.as_ref().filter(|_| !orders.force) {
                return Err(MoveError::refused(format!(
                    "shard {}: the stream back is broken ({why}), so what host group {} has is old; `tao shard finalize {} --force` \
                     gives it up, `tao shard reverse {}` copies everything back",
                    self.shard, source.group, self.shard, self.shard
                ))
                .into());
            }
            let proof = self.proof(sight, &target).await?;
            self.at(Step::Retire).await?;
            source.store.retire(&proof, 1).await?.accepted()?;
        }
        if self.notes.retired_at.is_none() || self.entry.at.state != MoveState::Finalized {
            self.notes.retired_at = Some(self.now());
            self.note_state(MoveState::Finalized).await?;
        }
        let due = self.notes.retired_at.unwrap_or(0) + orders.options.grace_s * 1_000;
        if self.now() < due {
            self.tell(None);
            tokio::time::sleep(LOOK_EVERY).await;
            return Ok(Next::Again);
        }
        self.clean(&source).await?;
        self.close(MoveState::Finalized, &source, Outcome::Retired, Role::Source).await
    }

    /// The move was given up, and the source serves: what was copied goes.
    pub(super) async fn give_up(&mut self, target: &Server) -> Done<Next> {
        self.note_state(MoveState::Aborted).await?;
        // Nothing is there if it never began.
        let row = target.store.shard_moves(self.shard).await?.row;
        if row.is_some_and(|row| matches!(row.state, ShardState::Gone | ShardState::Aborted)) {
            self.clean(target).await?;
        }
        self.close(MoveState::Aborted, target, Outcome::Aborted, Role::Target).await
    }

    /// Closes the move, once its end is on every server that could be promoted.
    async fn close(&mut self, state: MoveState, server: &Server, outcome: Outcome, role: Role) -> Done<Next> {
        let replicas = self.ground.replicas(server.group, &self.options()).await?;
        self.replicated(&replicas, self.entry.at.attempt, role, outcome).await?;
        self.at(Step::Close).await?;
        self.entry.at.state = state;
        self.notes.error = None;
        self.notes.throttled = None;
        self.note(false).await?;
        Ok(Next::Finished)
    }
}

/// The attempt whose rows the next one may go on from: the last one that began on the target, if its row still reads `aborted`.
fn continued(target: &ShardMoves) -> Option<MoveId> {
    let aborted = target.row.is_some_and(|row| row.state == ShardState::Aborted);
    let last = target.moves.iter().rfind(|record| record.role == Role::Target && record.began());
    last.filter(|record| aborted && record.outcome == Outcome::Aborted).map(|record| record.move_id)
}
