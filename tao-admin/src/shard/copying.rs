//! Up to READY: copy, follow, compare, rehearse.

use std::time::{Duration, Instant};

use tao_shard_store::moves::MoveState;

use super::decide::Sight;
use super::error::{Done, Halt, MoveError};
use super::step::Step;
use super::stream::{Stepped, Stream};
use super::worker::{Next, Until, Worker};

/// How long a wait for the log may be before orders are looked at again.
pub(super) const PATIENCE: Duration = Duration::from_millis(200);
/// A source whose log brings nothing for so long, heartbeats included, is not followed any more.
const SILENCE: Duration = Duration::from_secs(30);
/// Between two rehearsals of one that is kept ready.
const REHEARSE_EVERY: Duration = Duration::from_secs(5);
/// While throttled.
const THROTTLED: Duration = Duration::from_millis(100);

impl Worker<'_> {
    /// Copies, follows, compares, and keeps that up; or cuts over, if `cut_over`.
    pub(super) async fn work_towards(&mut self, sight: &Sight, cut_over: bool) -> Done<Next> {
        self.watch_load().await?;
        let mut stream = self.stream(sight).await?;
        if !stream.copied() && self.copy(&mut stream).await? == Next::Again {
            return Ok(Next::Again);
        }
        if self.entry.at.state < MoveState::Replicating {
            self.note_state(MoveState::Replicating).await?;
            self.at(Step::Copied).await?;
        }
        self.catch_up(&mut stream).await?;
        if !self.is_verified() {
            self.note_state(MoveState::Verifying).await?;
            self.at(Step::Verifying).await?;
            if self.verify(&mut stream).await? == Next::Again {
                return Ok(Next::Again);
            }
        }
        self.rehearse(&mut stream).await?;
        if self.entry.at.state != MoveState::Ready {
            self.note_state(MoveState::Ready).await?;
            self.at(Step::Ready).await?;
        }
        if self.until == Until::Verified {
            return Ok(Next::Finished);
        }
        if cut_over {
            if self.await_cutover(&mut stream).await? == Next::Again {
                return Ok(Next::Again);
            }
            return self.cut_over(stream).await;
        }
        self.keep_ready(&mut stream).await
    }

    /// The way from source to target, from what is stored.
    pub(super) async fn stream(&self, sight: &Sight) -> Done<Stream> {
        let record =
            sight.here().ok_or_else(|| Halt::LookAgain("the target does not know the move".to_owned()))?;
        let (source, target) =
            (self.primary(self.entry.at.source).await?, self.primary(self.entry.at.target).await?);
        let stores = (&source.store, &target.store);
        let options = self.options();
        Stream::open(stores, self.shard, self.entry.at.attempt, record.progress.clone(), &options).await
    }

    /// Until all tables are copied. `Again`: orders changed.
    async fn copy(&mut self, stream: &mut Stream) -> Done<Next> {
        self.note_state(MoveState::Copying).await?;
        let mut noted = Instant::now();
        while !stream.copied() {
            if self.interrupted() {
                self.note_state(MoveState::Copying).await?;
                return Ok(Next::Again);
            }
            let start = Instant::now();
            if let Some(input) = stream.wants_chunk().then(|| self.throttled()).flatten() {
                // The log is followed all the same, or what follows might be purged meanwhile.
                stream.follow(THROTTLED).await?;
                self.waited(input, start.elapsed());
            } else {
                self.copy_on(stream, start).await?;
            }
            self.notes.copy_ms += start.elapsed().as_millis() as u64;
            self.tell(Some(stream));
            if noted.elapsed() >= Duration::from_secs(1) {
                noted = Instant::now();
                self.note_state(MoveState::Copying).await?;
            }
        }
        Ok(Next::Finished)
    }

    async fn copy_on(&mut self, stream: &mut Stream, start: Instant) -> Done {
        if stream.wants_chunk() {
            self.at(Step::Chunk).await?;
        }
        match self.step(stream, SILENCE).await? {
            Stepped::Idle => Err(Halt::Passing("the source's log says nothing".to_owned())),
            Stepped::Imported { chunk_rows, .. } => {
                self.limit_rate(chunk_rows, start).await;
                stream.adjust(&self.options());
                Ok(())
            }
            Stepped::Read => Ok(()),
        }
    }

    async fn limit_rate(&mut self, rows: u64, start: Instant) {
        let rate = self.options().max_rows_per_second;
        if rate > 0 && rows > 0 {
            let wanted = Duration::from_secs_f64(rows as f64 / rate as f64);
            let rest = wanted.saturating_sub(start.elapsed());
            tokio::time::sleep(rest).await;
            self.waited("max-rows-per-second", rest);
        }
    }

    /// One step of a stream, counted.
    pub(super) async fn step(&mut self, stream: &mut Stream, patience: Duration) -> Done<Stepped> {
        let stepped = stream.step(patience).await?;
        if let Stepped::Imported { chunk_rows, chunk_bytes, transactions } = stepped {
            self.notes.rows_copied += chunk_rows;
            self.notes.bytes_copied += chunk_bytes;
            self.notes.transactions += transactions;
        }
        Ok(stepped)
    }

    /// Until the log has come to where the source is now.
    pub(super) async fn catch_up(&mut self, stream: &mut Stream) -> Done {
        let source = self.primary(self.entry.at.source).await?;
        self.pass(stream, &source).await
    }

    /// Until the log has come to where `source` is now.
    pub(super) async fn pass(&mut self, stream: &mut Stream, source: &super::ground::Server) -> Done {
        // A heartbeat, so that something comes even if nobody writes.
        let there = self.beaten(source).await?;
        let mut heard = Instant::now();
        while !stream.read_to().covers(&there) {
            match self.step(stream, PATIENCE).await? {
                Stepped::Idle if heard.elapsed() > SILENCE => {
                    return Err(Halt::Passing(format!("{}: its log says nothing", source.place())));
                }
                Stepped::Idle => {}
                _ => heard = Instant::now(),
            }
            self.tell(Some(stream));
            self.check_lease()?;
        }
        Ok(())
    }

    /// Until a cutover would keep its limits. `Again`: orders changed.
    async fn await_cutover(&mut self, stream: &mut Stream) -> Done<Next> {
        let start = Instant::now();
        while let Some(why) = self.cutover_waits() {
            if self.interrupted() {
                return Ok(Next::Again);
            }
            if start.elapsed() > self.patience() {
                return Err(MoveError::refused(format!("shard {}: {why}", self.shard)).into());
            }
            let since = self.notes.throttled.take().map_or_else(|| self.now(), |(_, since)| since);
            self.notes.throttled = Some((why, since));
            self.tell(Some(stream));
            let moment = Instant::now();
            while moment.elapsed() < Duration::from_secs(1) {
                self.step(stream, PATIENCE).await?;
            }
            self.rehearse(stream).await?;
        }
        self.notes.throttled = None;
        Ok(Next::Finished)
    }

    /// READY was ordered: it stays so until something else is.
    async fn keep_ready(&mut self, stream: &mut Stream) -> Done<Next> {
        let mut rehearsed = Instant::now();
        loop {
            if self.interrupted() {
                return Ok(Next::Again);
            }
            if !self.stays() {
                return Ok(Next::Finished);
            }
            self.step(stream, PATIENCE).await?;
            if rehearsed.elapsed() >= REHEARSE_EVERY {
                self.rehearse(stream).await?;
                self.note_state(MoveState::Ready).await?;
                rehearsed = Instant::now();
            }
            self.tell(Some(stream));
        }
    }

    /// The stream back, while the target serves: `Finished` when the goal is reached and nobody is to stay.
    pub(super) async fn follow(&mut self, sight: &Sight) -> Done<Next> {
        if self.entry.at.state != MoveState::Reversible {
            // The worker that began the stream back did not live to say so.
            self.notes.error = None;
            self.note_state(MoveState::Reversible).await?;
        }
        if self.notes.reverse_broken.is_some() && !self.wants_verification() {
            return if self.stays() { self.wait_for_orders().await } else { Ok(Next::Finished) };
        }
        match self.follow_back(sight).await {
            Err(Halt::Recopy(why)) => {
                // To reverse is possible all the same: everything is copied again then.
                self.notes.reverse_broken = Some(why);
                self.note_state(MoveState::Reversible).await?;
                Ok(Next::Again)
            }
            other => other,
        }
    }

    async fn follow_back(&mut self, sight: &Sight) -> Done<Next> {
        let record = sight.back().ok_or_else(|| Halt::LookAgain("there is no stream back".to_owned()))?;
        let (serving, following) =
            (self.primary(self.entry.at.target).await?, self.primary(self.entry.at.source).await?);
        let stores = (&serving.store, &following.store);
        let options = self.options();
        let progress = record.progress.clone();
        let mut stream = Stream::open(stores, self.shard, record.move_id, progress, &options).await?;
        self.pass(&mut stream, &serving).await?;
        if self.wants_verification() {
            if self.verify(&mut stream).await? == Next::Again {
                return Ok(Next::Again);
            }
            self.note_state(MoveState::Reversible).await?;
        }
        let mut noted = Instant::now();
        loop {
            if self.until == Until::Verified || !self.stays() {
                return Ok(Next::Finished);
            }
            if self.interrupted() {
                return Ok(Next::Again);
            }
            self.step(&mut stream, PATIENCE).await?;
            self.tell(Some(&mut stream));
            if noted.elapsed() >= REHEARSE_EVERY {
                noted = Instant::now();
                self.note_state(MoveState::Reversible).await?;
            }
        }
    }

    /// Whether the two sides were compared, and lately enough.
    pub(super) fn is_verified(&self) -> bool {
        let orders = self.orders();
        let oldest = self.now().saturating_sub(orders.options.verified_within_s * 1_000);
        self.notes.verified_at.is_some_and(|at| at >= oldest && at >= orders.verify_after)
    }

    fn wants_verification(&self) -> bool {
        let after = self.orders().verify_after;
        after > 0 && self.notes.verified_at.is_none_or(|at| at < after)
    }

    /// The error of a comparison that found differences.
    pub(super) fn different(&self) -> MoveError {
        MoveError::refused(format!(
            "shard {}: {} of {} rows are not the same in host groups {} and {} ({}): somebody else wrote to one of them; look at \
             them, then `tao shard abort {}` and move it anew",
            self.shard,
            self.notes.rows_different,
            self.notes.rows_compared,
            self.entry.at.source,
            self.entry.at.target,
            self.notes.differences.join(", "),
            self.shard
        ))
    }
}
