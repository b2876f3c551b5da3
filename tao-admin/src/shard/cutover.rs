//! CUTOVER: hold, fence, drain, commit, release. And back, before the commit.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tao_schema::ids::{Epoch, Position};
use tao_schema::rows::ShardState;
use tao_shard_store::log::ServerLog;
use tao_shard_store::moves::{
    AbortImport, Answer, CommitImport, Committed, Fence, FenceShard, MoveId, MoveState, Outcome, Refusal,
    Role, ShardMover,
};
use tao_shard_store::store::StoreErrorKind;

use super::decide::Sight;
use super::error::{Done, Halt, MoveError};
use super::ground::Server;
use super::step::Step;
use super::stream::Stream;
use super::terms::{Goal, PauseParts};
use super::worker::{Next, Worker};

/// Between two looks at a replica that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How long one step of the stream may wait while something else is waited for.
const MOMENT: Duration = Duration::from_millis(5);
/// A commit without an answer is asked for again so long; then the rows decide.
const ASK_FOR: Duration = Duration::from_secs(20);

/// The servers of a cutover, all of them open before it begins.
struct Sides {
    source: Server,
    target: Server,
    source_replicas: Vec<Server>,
    target_replicas: Vec<Server>,
}

impl Worker<'_> {
    async fn sides(&self) -> Done<Sides> {
        let options = self.options();
        let at = &self.entry.at;
        Ok(Sides {
            source: self.primary(at.source).await?,
            target: self.primary(at.target).await?,
            source_replicas: self.ground.replicas(at.source, &options).await?,
            target_replicas: self.ground.replicas(at.target, &options).await?,
        })
    }

    /// One cutover, of a move that is READY. What does not commit in time is taken back.
    pub(super) async fn cut_over(&mut self, mut stream: Stream) -> Done<Next> {
        let options = self.options();
        let sides = self.sides().await?;
        // The present one: the source may have been promoted since the copy began.
        let row = sides.source.store.shard_moves(self.shard).await?.row;
        let epoch = row.filter(|row| row.state == ShardState::Serving).map(|row| row.epoch);
        let epoch = epoch
            .ok_or_else(|| Halt::LookAgain(format!("shard {} is not served by the source", self.shard)))?;
        self.notes.cutovers += 1;
        self.notes.error = None;
        self.note_state(MoveState::Cutover).await?;
        self.at(Step::BeforeFence).await?;
        let start = Instant::now();
        let attempt = self.attempt(epoch, &sides, &mut stream, start, start + options.max_pause()).await;
        drop(stream);
        let (committed, mut pause) = match attempt {
            Ok(done) => done,
            Err(Halt::Cut(error)) => return Err(Halt::Cut(error)),
            Err(halt) => {
                // Whatever is under way still: this attempt is over, unless the rows say that it committed.
                let why = MoveError::from(halt).message;
                self.notes.error = Some(why.clone());
                self.spoilt = Some(why);
                return Ok(Next::Again);
            }
        };
        let ms = |since: Instant| since.elapsed().as_secs_f64() * 1_000.0;
        let before = ms(start);
        self.replicated(&sides.target_replicas, committed.move_id(), Role::Target, Outcome::Committed)
            .await?;
        pause.replicated = ms(start) - before;
        self.at(Step::CommitReplicated).await?;
        self.at(Step::BeforeRelease).await?;
        let before = ms(start);
        self.release(sides.target.group).await?;
        pause.release = ms(start) - before;
        self.notes.pause_ms = Some(ms(start));
        self.notes.pause = pause;
        self.failed = 0;
        self.at(Step::AfterRelease).await?;
        Ok(Next::Again)
    }

    /// Why a cutover is not to be begun now.
    pub(super) fn cutover_waits(&self) -> Option<String> {
        let options = self.options();
        if let Some(why) = self.reading().veto_of_cutover(&options) {
            return Some(format!("the cutover waits: {}", why.reason));
        }
        let predicted = self.notes.predicted_ms.unwrap_or(f64::INFINITY);
        (predicted > options.max_pause_ms as f64).then(|| {
            format!(
                "the cutover waits: it would take {predicted:.0} ms, max-pause is {} ms; `tao shard set {} --max-pause TIME` allows \
                 more",
                options.max_pause_ms, self.shard
            )
        })
    }

    /// Up to the commit.
    async fn attempt(
        &self,
        epoch: Epoch,
        sides: &Sides,
        stream: &mut Stream,
        start: Instant,
        deadline: Instant,
    ) -> Done<(Committed, PauseParts)> {
        let move_id = self.entry.at.attempt;
        let ms = || start.elapsed().as_secs_f64() * 1_000.0;
        let fence = FenceShard { shard: self.shard, move_id, epoch, target: sides.target.group.to_string() };
        let fence = self.fence(sides, stream, fence, deadline).await?;
        let fenced = ms();
        self.at(Step::AfterFence).await?;
        let limit = deadline.saturating_duration_since(Instant::now());
        let (replicated, drained) = tokio::join!(
            self.seen_by_all(&sides.source_replicas, move_id, Role::Source, Outcome::Running, limit),
            drain(stream, fence.at, deadline)
        );
        replicated?;
        self.at(Step::FenceReplicated).await?;
        drained?;
        self.at(Step::Drained).await?;
        let through = ms();
        let executed = sides.target.store.executed().await?;
        if Instant::now() > deadline {
            return Err(late("the drain"));
        }
        self.at(Step::BeforeCommit).await?;
        let commit =
            CommitImport { shard: self.shard, move_id, fence: fence.at, next_id: fence.next_id, executed };
        let committed = commit_surely(&sides.target, commit, deadline).await?;
        let pause = PauseParts {
            fence: fenced,
            drain: through - fenced,
            commit: ms() - through,
            ..PauseParts::default()
        };
        self.at(Step::AfterCommit).await?;
        Ok((committed, pause))
    }

    /// Sets the fence; the stream goes on meanwhile, so that little is left to drain.
    async fn fence(
        &self,
        sides: &Sides,
        stream: &mut Stream,
        fence: FenceShard,
        deadline: Instant,
    ) -> Done<Fence> {
        loop {
            let (store, ask) = (sides.source.store.clone(), fence.clone());
            let asked = tokio::spawn(async move { store.fence(ask).await });
            while !asked.is_finished() {
                stream.step(MOMENT).await?;
            }
            let answer = asked.await.map_err(|error| Halt::Passing(format!("the fence: {error}")))?;
            match answer {
                Ok(answer) => return Ok(answer.accepted()?),
                // The same call finds out what became of it.
                Err(error) if Instant::now() < deadline && error.kind != StoreErrorKind::Rejected => {
                    tracing::debug!(%error, "the fence is asked for again");
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until every one of these servers has seen what a move came to, as long as a server may take to catch up.
    pub(super) async fn replicated(
        &self,
        replicas: &[Server],
        id: MoveId,
        role: Role,
        outcome: Outcome,
    ) -> Done {
        self.seen_by_all(replicas, id, role, outcome, self.catch_up_limit()).await
    }

    async fn seen_by_all(
        &self,
        replicas: &[Server],
        id: MoveId,
        role: Role,
        outcome: Outcome,
        limit: Duration,
    ) -> Done {
        let start = Instant::now();
        let waits = replicas.iter().map(|replica| async move {
            while !replica.store.shard_moves(self.shard).await?.has_seen(id, role, outcome) {
                if start.elapsed() > limit {
                    return Err(Halt::Passing(format!(
                        "{}: has not got what its primary wrote of move {id} within {limit:?}",
                        replica.place()
                    )));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Ok::<_, Halt>(())
        });
        try_join_all(waits).await.map(|_| ())
    }

    /// Ends the present attempt, whoever began it, and however far it came: the target is told first, the source opened again only
    /// when no server that could be promoted knows otherwise. Then a new attempt, unless the move was given up.
    pub(super) async fn roll_back(&mut self, sight: &Sight) -> Done<Next> {
        self.at(Step::BeforeAbort).await?;
        let sides = self.sides().await?;
        let (id, shard) = (self.entry.at.attempt, self.shard);
        let abort = AbortImport { shard, move_id: id, source: sides.source.group.to_string() };
        let proof = match sides.target.store.abort_import(abort).await? {
            Answer::Done(proof) | Answer::AlreadyDone(proof) => proof,
            Answer::Refused(Refusal::Committed) => {
                self.spoilt = None;
                return Ok(Next::Again);
            }
            Answer::Refused(refusal) => return Err(refusal.into()),
        };
        self.at(Step::AfterAbort).await?;
        self.replicated(&sides.target_replicas, id, Role::Target, Outcome::Aborted).await?;
        self.at(Step::AbortReplicated).await?;
        let fenced =
            sides.source.store.shard_moves(shard).await?.has_seen(id, Role::Source, Outcome::Running);
        if fenced {
            // Else a promotion could open the fence's epoch a second time.
            self.replicated(&sides.source_replicas, id, Role::Source, Outcome::Running).await?;
        }
        self.at(Step::BeforeUnfence).await?;
        sides.source.store.unfence(&proof).await?.accepted()?;
        self.at(Step::AfterUnfence).await?;
        self.replicated(&sides.source_replicas, id, Role::Source, Outcome::Aborted).await?;
        self.at(Step::BeforeRelease).await?;
        self.release(sides.source.group).await?;
        self.at(Step::AfterRelease).await?;
        self.notes.rollbacks += u32::from(fenced || sight.there().is_some());
        self.next_attempt(&sides).await
    }

    async fn next_attempt(&mut self, sides: &Sides) -> Done<Next> {
        let orders = self.orders();
        if orders.goal == Goal::Aborted && self.entry.at.source == self.entry.home {
            return self.give_up(&sides.target).await;
        }
        if let Some(why) = self.recopy.clone() {
            self.notes.error = Some(why);
            self.notes.recopies += 1;
            self.notes.reverse_broken = None;
            self.clean(&sides.target).await?;
        }
        self.entry.at.attempt = self.new_id().await?;
        self.note_state(MoveState::Planned).await?;
        self.recopy = None;
        let Some(why) = self.spoilt.take() else { return Ok(Next::Again) };
        self.failed += 1;
        if self.failed >= orders.options.cutovers {
            return Err(MoveError::refused(format!(
                "shard {}: {} cutovers in a row were taken back, the last because: {why}; the shard is served by host group {} \
                 as before. `tao shard resume {}` tries again, `tao shard set {} --max-pause TIME` gives it more time",
                self.shard, self.failed, self.entry.at.source, self.shard, self.shard
            ))
            .into());
        }
        Ok(Next::Again)
    }

    /// The proof that the attempt committed, once more.
    pub(super) async fn proof(&self, sight: &Sight, target: &Server) -> Done<Committed> {
        let record =
            sight.here().ok_or_else(|| Halt::LookAgain("the target does not know the move".to_owned()))?;
        let next_id = sight.target.row.map_or(1, |row| row.next_id);
        let (fence, executed) = (record.progress.applied, record.progress.position.clone());
        let commit = CommitImport { shard: self.shard, move_id: record.move_id, fence, next_id, executed };
        Ok(target.store.commit_import(commit).await?.accepted()?)
    }
}

fn late(what: &str) -> Halt {
    Halt::Passing(format!("{what} did not end within max-pause"))
}

/// Applies everything up to the fence.
async fn drain(stream: &mut Stream, fence: Position, deadline: Instant) -> Done {
    stream.hold(Some(fence));
    while !stream.drained(fence) {
        if Instant::now() > deadline {
            return Err(late("the drain"));
        }
        stream.step(MOMENT).await?;
    }
    Ok(())
}

/// Commits. A call without an answer is repeated: it answers what became of it. Nobody guesses. One that was certainly not done is
/// repeated until the deadline.
async fn commit_surely(target: &Server, commit: CommitImport, deadline: Instant) -> Done<Committed> {
    let start = Instant::now();
    loop {
        let error = match target.store.commit_import(commit.clone()).await {
            Ok(answer) => return Ok(answer.accepted()?),
            Err(error) => error,
        };
        let again = match error.kind {
            StoreErrorKind::Uncertain => start.elapsed() < ASK_FOR,
            StoreErrorKind::Unavailable => Instant::now() < deadline,
            StoreErrorKind::Rejected | StoreErrorKind::Incompatible => false,
        };
        if !again {
            return Err(error.into());
        }
        tracing::debug!(%error, "the commit is asked for again");
        tokio::time::sleep(MOMENT * 10).await;
    }
}
