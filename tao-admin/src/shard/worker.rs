//! One worker: takes the lease, looks, decides, does, and looks again, until the goal is reached.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tao_schema::ids::{HostGroupId, ShardId};
use tao_shard_store::log::BeatWriter;
use tao_shard_store::moves::{MoveEntry, MoveId, MoveState, ShardMover};

use super::decide::{Act, Sight};
use super::error::{Done, Halt, MoveError};
use super::gate::{Gate, Reading};
use super::ground::{Ground, Server, Settings, beat_writer};
use super::lease::{Lease, notes_of, open_entry};
use super::status::MoveStatus;
use super::step::{Step, Watch};
use super::stream::Stream;
use super::terms::{MoveOptions, Notes, Orders};

/// After what may pass by itself.
const RETRY: Duration = Duration::from_millis(200);
/// Between two calls of [`Watch::progress`].
const TELL_EVERY: Duration = Duration::from_millis(200);

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Look again.
    Again,
    /// This part is done.
    Finished,
}

/// When a worker has done enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Until {
    /// The ordered goal is reached.
    Goal,
    /// The two sides were compared.
    Verified,
}

/// Works on one move.
pub(super) struct Worker<'a> {
    pub(super) ground: Arc<Ground>,
    settings: &'a Settings,
    watch: &'a dyn Watch,
    pub(super) shard: ShardId,
    pub(super) entry: MoveEntry,
    pub(super) notes: Notes,
    pub(super) until: Until,
    lease: Lease,
    gate: Option<Gate>,
    /// Why the present attempt must be ended although it may not have fenced anything: a call that got no answer may still arrive.
    pub(super) spoilt: Option<String>,
    /// Why the copy must begin anew.
    pub(super) recopy: Option<String>,
    /// How long the last rehearsals took, in ms.
    pub(super) rehearsals: VecDeque<f64>,
    /// Cutovers taken back, one after the other.
    pub(super) failed: u32,
    told: Instant,
}

impl<'a> Worker<'a> {
    /// Takes the lease of a shard's open move.
    pub(super) async fn take(
        ground: Arc<Ground>,
        settings: &'a Settings,
        watch: &'a dyn Watch,
        shard: ShardId,
        until: Until,
    ) -> Done<Self> {
        let book = ground.book().await?;
        let start = Instant::now();
        let entry = loop {
            let entry = open_entry(&book, shard).await?;
            if book.lease(entry.id, &settings.worker, settings.lease, settings.take_over).await? {
                break entry;
            }
            let holder = entry.lease.as_ref().map_or("nobody", |lease| lease.worker.as_str());
            // One that died leaves its lease for as long as that.
            if start.elapsed() > settings.lease + Duration::from_secs(1) {
                return Err(MoveError::unavailable(format!(
                    "shard {shard}: worker {holder} is at it; `tao shard status {shard}` shows how far, and --take-over replaces \
                     it"
                ))
                .into());
            }
            tokio::time::sleep(RETRY).await;
        };
        let notes = notes_of(&entry);
        let lease = Lease::keep(Arc::clone(&ground), settings, &entry)?;
        Ok(Self {
            ground,
            settings,
            watch,
            shard,
            entry,
            notes,
            until,
            lease,
            gate: None,
            spoilt: None,
            recopy: None,
            rehearsals: VecDeque::new(),
            failed: 0,
            told: Instant::now(),
        })
    }

    /// Works until the goal is reached.
    pub(super) async fn run(mut self) -> Result<(), MoveError> {
        let mut trouble: Option<Instant> = None;
        loop {
            let halt = match self.turn().await {
                Ok(Next::Again) => {
                    trouble = None;
                    continue;
                }
                Ok(Next::Finished) => {
                    self.let_go().await;
                    return Ok(());
                }
                Err(halt) => halt,
            };
            match halt {
                // As a crash: nothing more is done, not even the lease given back.
                Halt::Cut(error) => return Err(MoveError::unavailable(format!("{error:#}"))),
                Halt::Over(error) => {
                    self.trouble(&error.message).await;
                    self.let_go().await;
                    return Err(error);
                }
                Halt::Recopy(why) => self.recopy = Some(why),
                Halt::Passing(why) | Halt::LookAgain(why) => {
                    let since = *trouble.get_or_insert_with(Instant::now);
                    tracing::debug!(shard = %self.shard, why, "looking again");
                    self.trouble(&why).await;
                    if since.elapsed() > self.settings.patience {
                        self.let_go().await;
                        return Err(MoveError::unavailable(format!(
                            "shard {}: {why}; the move stays as it is, `tao shard resume {}` goes on with it",
                            self.shard, self.shard
                        )));
                    }
                    self.start_over().await;
                }
            }
        }
    }

    /// Looks and does one thing.
    async fn turn(&mut self) -> Done<Next> {
        self.check_lease()?;
        let sight = self.look().await?;
        self.entry = sight.entry.clone();
        let orders = self.orders();
        if !self.entry.open {
            return Ok(Next::Finished);
        }
        let act = sight.act(&orders);
        if sight.committed() {
            // Whatever went wrong before, it was decided.
            (self.spoilt, self.recopy) = (None, None);
        }
        let ends = self.spoilt.is_some() || self.recopy.is_some();
        match act {
            _ if ends => self.roll_back(&sight).await,
            Act::Wait => self.wait_for_orders().await,
            Act::Begin => self.begin(&sight).await,
            Act::Keep => self.work_towards(&sight, false).await,
            Act::CutOver => self.work_towards(&sight, true).await,
            Act::RollBack => self.roll_back(&sight).await,
            Act::RollForward => self.roll_forward(&sight).await,
            Act::Follow => self.follow(&sight).await,
            Act::Turn => self.turn_round().await,
            Act::Finalize => self.finalize(&sight).await,
            Act::Stop(why) => Err(MoveError::stopped(format!("shard {}: {why}", self.shard)).into()),
        }
    }

    /// The rows of both servers, and the book's entry.
    async fn look(&self) -> Done<Sight> {
        let book = self.ground.book().await?;
        let entry = book.of_shard(self.shard).await?.filter(|entry| entry.id == self.entry.id);
        let entry = entry.ok_or_else(|| Halt::Passing("the move is not in the book".to_owned()))?;
        let (source, target) = (self.primary(entry.at.source).await?, self.primary(entry.at.target).await?);
        let (source, target) =
            tokio::try_join!(source.store.shard_moves(self.shard), target.store.shard_moves(self.shard))?;
        Ok(Sight { entry, source, target })
    }

    /// After trouble: servers may have other roles now.
    async fn start_over(&mut self) {
        self.gate = None;
        self.ground.forget();
        tokio::time::sleep(RETRY).await;
        // Whether that works shows in the next turn.
        if let Err(halt) = self.ground.refresh().await {
            tracing::debug!(shard = %self.shard, ?halt, "the topology can't be read");
        }
    }

    /// The primary of a host group.
    pub(super) async fn primary(&self, group: HostGroupId) -> Done<Server> {
        self.ground.primary(group).await
    }

    /// Tells the watcher of a step; it may end the work there.
    pub(super) async fn at(&self, step: Step) -> Done {
        self.watch.step(step).await.map_err(Halt::Cut)
    }

    /// What operators want now.
    pub(super) fn orders(&self) -> Orders {
        self.lease.orders()
    }

    /// See [`MoveOptions`].
    pub(super) fn options(&self) -> MoveOptions {
        self.lease.orders().options
    }

    /// About now, by the clock of the book.
    pub(super) fn now(&self) -> u64 {
        self.lease.now()
    }

    /// Whether it goes on when the goal is reached.
    pub(super) fn stays(&self) -> bool {
        self.settings.stay && self.until == Until::Goal
    }

    /// Whether orders came that a long work must look at.
    pub(super) fn interrupted(&mut self) -> bool {
        self.lease.reordered() || self.lease.is_lost()
    }

    /// Whether the copy must wait, and by which limit; noted with the reason and the time.
    pub(super) fn throttled(&mut self) -> Option<&'static str> {
        let why = self.reading().veto(&self.options());
        let since = self.notes.throttled.take().map(|(_, since)| since);
        let now = self.now();
        let input = why.as_ref().map(|why| why.input);
        self.notes.throttled = why.map(|why| (why.reason, since.unwrap_or(now)));
        input
    }

    /// Counts time for which the copy waited because of a limit.
    pub(super) fn waited(&mut self, input: &str, time: Duration) {
        *self.notes.throttled_ms.entry(input.to_owned()).or_default() += time.as_millis() as u64;
    }

    /// Lag and load as they were found last; nothing before [`Worker::watch_load`].
    pub(super) fn reading(&self) -> Reading {
        let leaders = || self.ground.leaders(&self.options());
        self.gate.as_ref().map(|gate| gate.reading(leaders())).unwrap_or_default()
    }

    /// How long what may pass is waited for.
    pub(super) fn patience(&self) -> Duration {
        self.settings.patience
    }

    /// Looks at lag and load from now on.
    pub(super) async fn watch_load(&mut self) -> Done {
        if self.gate.is_some() {
            return Ok(());
        }
        let options = self.options();
        let mut groups = Vec::new();
        for group in [self.entry.at.source, self.entry.at.target] {
            groups.push((self.primary(group).await?, self.ground.replicas(group, &options).await?));
        }
        self.gate = Some(Gate::open(groups, self.beat_writer()).await);
        Ok(())
    }

    pub(super) fn beat_writer(&self) -> BeatWriter {
        beat_writer(&format!("{} {}", self.settings.worker, self.shard))
    }

    /// How long servers may take to catch up.
    pub(super) fn catch_up_limit(&self) -> Duration {
        self.settings.limits.catch_up
    }

    pub(super) fn check_lease(&self) -> Done {
        if self.lease.is_lost() {
            let message = format!("shard {}: another worker has taken the move over", self.shard);
            return Err(MoveError::unavailable(message).into());
        }
        Ok(())
    }

    /// Notes the state, and everything else.
    pub(super) async fn note_state(&mut self, state: MoveState) -> Done {
        self.entry.at.state = state;
        self.note(true).await
    }

    /// Notes how far the move is.
    pub(super) async fn note(&mut self, open: bool) -> Done {
        self.entry.at.notes = serde_json::to_string(&self.notes).unwrap_or_default();
        let book = self.ground.book().await?;
        if book.note(self.entry.id, &self.settings.worker, &self.entry.at, open).await? {
            return Ok(());
        }
        // The lease ran out while something took long; or it is another's.
        if book.lease(self.entry.id, &self.settings.worker, self.settings.lease, false).await?
            && book.note(self.entry.id, &self.settings.worker, &self.entry.at, open).await?
        {
            return Ok(());
        }
        let now = book.of_shard(self.shard).await?;
        if now.is_some_and(|now| now.id == self.entry.id && !now.open && !open) {
            // Closed, by a call whose answer was lost.
            return Ok(());
        }
        Err(MoveError::unavailable(format!("shard {}: another worker has taken the move over", self.shard))
            .into())
    }

    /// An id above all that either server knows of the shard.
    pub(super) async fn new_id(&self) -> Done<MoveId> {
        let mut above = self.entry.at.attempt;
        for group in [self.entry.at.source, self.entry.at.target] {
            let known = self.primary(group).await?.store.shard_moves(self.shard).await?;
            above = known.moves.iter().map(|record| record.move_id).chain([above]).max().unwrap_or(above);
        }
        Ok(self.ground.book().await?.next_id(above).await?)
    }

    /// Tells the watcher how it is, now and then.
    pub(super) fn tell(&mut self, stream: Option<&mut Stream>) {
        if self.told.elapsed() < TELL_EVERY {
            return;
        }
        self.told = Instant::now();
        let age = stream.map(|stream| stream.last_event.elapsed());
        let status = MoveStatus::of(&self.entry, &self.orders(), &self.notes, self.now());
        self.watch.progress(&status.with(&self.reading(), age));
    }

    /// Until something else is ordered.
    pub(super) async fn wait_for_orders(&mut self) -> Done<Next> {
        while !self.interrupted() {
            self.tell(None);
            tokio::time::sleep(RETRY).await;
        }
        Ok(Next::Again)
    }

    async fn trouble(&mut self, why: &str) {
        self.notes.error = Some(why.to_owned());
        // What is in trouble may be the book itself.
        if self.note(true).await.is_err() {
            tracing::debug!(shard = %self.shard, why, "can't be noted");
        }
    }

    async fn let_go(&self) {
        if let Ok(book) = self.ground.book().await
            && let Err(error) = book.let_go(self.entry.id, &self.settings.worker).await
        {
            tracing::debug!(%error, "the lease is left to run out");
        }
    }
}
