//! Two servers, a writer and a mover.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tao_schema::ids::{Epoch, ObjectId, Position, Seq, ShardId};

use super::bench::*;
use super::{Failure, Verdict};
use crate::apply::LockedShard;
use crate::log::{Beat, BeatWriter, LogTail, ServerLog, TailEvent};
use crate::moves::{
    AbortImport, Answer, BeginImport, CommitImport, Committed, Copied, Copier, Fence, FenceShard, Import,
    MoveId, MoveRecord, PageLimit, RawTail, ShardMover, Step, starting_point,
};
use crate::store::SharedStore;
use crate::write::{StoreOp, WriteUnit};

/// A log that says nothing for so long has lost something.
const PATIENCE: Duration = Duration::from_secs(30);

/// One server, seen in its three parts.
pub struct End {
    /// Rows.
    pub store: SharedStore,
    /// Moves.
    pub mover: Arc<dyn ShardMover>,
    /// Its log.
    pub log: Arc<dyn ServerLog>,
}

/// Two servers, the first of which serves the shard.
pub(super) struct MoveBench {
    pub(super) source: End,
    pub(super) target: End,
    pub(super) shard: ShardId,
}

impl MoveBench {
    pub(super) async fn begin_of(&self, move_id: MoveId) -> Result<BeginImport, Failure> {
        let writer = BeatWriter::of("mover");
        let (position, applied) = starting_point(&*self.source.log, self.shard, writer).await?;
        let (shard, source) = (self.shard, "a".to_owned());
        Ok(BeginImport { shard, move_id, source, applied, position, continues: None })
    }

    pub(super) async fn begin(&self, move_id: MoveId) -> Verdict {
        let begin = self.begin_of(move_id).await?;
        Ok(self.target.mover.begin_import(begin).await?.accepted()?)
    }

    pub(super) fn abort_of(&self, move_id: MoveId) -> AbortImport {
        AbortImport { shard: self.shard, move_id, source: "a".to_owned() }
    }

    pub(super) async fn commit_of(&self, move_id: MoveId) -> Result<CommitImport, Failure> {
        let LockedShard { epoch, seq, next_id, .. } = self.row(&self.source).await?;
        let fence = Position { shard: self.shard, epoch, seq };
        let executed = self.target.log.executed().await?;
        Ok(CommitImport { shard: self.shard, move_id, fence, next_id, executed })
    }

    pub(super) async fn fence(&self, end: &End, move_id: MoveId, epoch: Epoch) -> Result<Fence, Failure> {
        let fence = FenceShard { shard: self.shard, move_id, epoch, target: "b".to_owned() };
        Ok(end.mover.fence(fence).await?.accepted()?)
    }

    pub(super) async fn commit(
        &self,
        end: &End,
        move_id: MoveId,
        fence: Fence,
    ) -> Result<Committed, Failure> {
        let executed = end.log.executed().await?;
        let (fence, next_id) = (fence.at, fence.next_id);
        let commit = CommitImport { shard: self.shard, move_id, fence, next_id, executed };
        Ok(end.mover.commit_import(commit).await?.accepted()?)
    }

    /// A whole move.
    pub(super) async fn moved(&self, move_id: MoveId, limit: PageLimit) -> Result<Fence, Failure> {
        self.begin(move_id).await?;
        let mut mover = Mover::open(&self.source, &self.target, self.shard, move_id, limit).await?;
        mover.catch_up(false).await?;
        let fence = self.fence(&self.source, move_id, EPOCH).await?;
        mover.drain(fence.at).await?;
        self.commit(&self.target, move_id, fence).await?;
        Ok(fence)
    }

    /// Aborts a move and opens the source again; answers where it is.
    pub(super) async fn rolled_back(&self, move_id: MoveId) -> Result<Position, Failure> {
        let proof = self.target.mover.abort_import(self.abort_of(move_id)).await?.accepted()?;
        Ok(self.source.mover.unfence(&proof).await?.accepted()?)
    }

    /// Begins a move with the rows of one that was aborted, twice.
    pub(super) async fn go_on(&self, from: MoveId, move_id: MoveId) -> Verdict {
        let before = self.record(&self.target, from).await?;
        // Where a new copy would begin does not count.
        let begin = BeginImport { continues: Some(from), ..self.begin_of(move_id).await? };
        ensure_eq!(self.target.mover.begin_import(begin.clone()).await?, Answer::Done(()), "gone on with");
        ensure_eq!(self.target.mover.begin_import(begin).await?, Answer::AlreadyDone(()), "and again");
        let after = self.record(&self.target, move_id).await?;
        ensure_eq!(after.progress, before.progress, "the progress");
        Ok(())
    }

    /// The starts of the shard's epochs.
    pub(super) async fn epochs(&self, end: &End) -> Result<Vec<(Epoch, Seq)>, Failure> {
        let survey = end.log.survey(BeatWriter::of("moves")).await?;
        let own = survey.epochs.into_iter().filter(|(shard, _)| *shard == self.shard);
        Ok(own.map(|(_, start)| (start.epoch, start.first_seq)).collect())
    }

    pub(super) async fn row(&self, end: &End) -> Result<LockedShard, Failure> {
        end.mover.shard_moves(self.shard).await?.row.ok_or_else(|| "the shard has no row".into())
    }

    pub(super) async fn record(&self, end: &End, id: MoveId) -> Result<MoveRecord, Failure> {
        let moves = end.mover.shard_moves(self.shard).await?;
        moves.of(id).cloned().ok_or_else(|| format!("move {id} has no record").into())
    }
}

/// Does what a copier says.
pub(super) struct Mover<'a> {
    source: &'a End,
    target: &'a End,
    shard: ShardId,
    copier: Copier,
    tail: Box<dyn RawTail>,
    limit: PageLimit,
}

impl<'a> Mover<'a> {
    /// From the stored progress.
    pub(super) async fn open(
        source: &'a End,
        target: &'a End,
        shard: ShardId,
        move_id: MoveId,
        limit: PageLimit,
    ) -> Result<Self, Failure> {
        let moves = target.mover.shard_moves(shard).await?;
        let progress = moves.of(move_id).ok_or("no record of the move")?.progress.clone();
        let tail = source.mover.raw_tail(shard, progress.position.clone()).await?;
        let copier = Copier::new(shard, move_id, progress);
        Ok(Self { source, target, shard, copier, tail, limit })
    }

    async fn read_log(&mut self) -> Verdict {
        let more = tokio::time::timeout(PATIENCE, self.tail.next()).await;
        let more = more.map_err(|_| "the log says nothing")??;
        Ok(self.copier.log(more, self.tail.position())?)
    }

    /// The next import; `None`: everything is copied, and the log as far as it was read.
    pub(super) async fn next_import(&mut self) -> Result<Option<Import>, Failure> {
        loop {
            // Lets a writer of the same task go on.
            tokio::task::yield_now().await;
            match self.copier.next(self.limit)? {
                Step::Import(import) => return Ok(Some(import)),
                Step::ReadChunk(from) => {
                    let page = self.source.mover.raw_page(self.shard, from, self.limit).await?;
                    ensure!(page.rows.len() <= self.limit.rows, "a page of {} rows", page.rows.len());
                    // One that is thrown away is asked for again: a log tells before it shows.
                    self.copier.chunk(page)?;
                }
                Step::ReadLog(_) => self.read_log().await?,
                Step::CaughtUp => return Ok(None),
            }
        }
    }

    /// Until all is copied; `checkpoint`: and notes where the log was read to.
    pub(super) async fn catch_up(&mut self, checkpoint: bool) -> Verdict {
        while let Some(import) = self.next_import().await? {
            self.target.mover.import(import).await?.accepted()?;
        }
        if checkpoint && let Some(import) = self.copier.checkpoint() {
            self.target.mover.import(import).await?.accepted()?;
        }
        Ok(())
    }

    /// Until everything up to a position is here, and nothing behind it.
    pub(super) async fn drain(&mut self, at: Position) -> Verdict {
        self.copier.hold(Some(at));
        self.catch_up(false).await?;
        self.copier.hold(None);
        ensure!(self.copier.drained(at), "the copy is at {:?}, not at {at}", self.copier.progress());
        Ok(())
    }
}

/// Writes rows of every table.
pub(super) struct Writer {
    shard: ShardId,
    pub(super) epoch: Epoch,
    rng: StdRng,
    next: u64,
}

impl Writer {
    pub(super) fn new(shard: ShardId, epoch: Epoch) -> Self {
        Self { shard, epoch, rng: StdRng::seed_from_u64(u64::from(shard.0)), next: 0 }
    }

    fn id(&mut self) -> ObjectId {
        ObjectId::new(self.shard, (1 << 20) + self.rng.random_range(0..20))
    }

    /// A unit without a request id.
    pub(super) fn plain(&mut self, what: u32) -> WriteUnit {
        let (x, y) = (self.id(), self.id());
        let far = ObjectId::new(ShardId(self.shard.0 ^ 1), self.rng.random_range(0..9));
        let time = self.rng.random_range(0..1_000);
        let op = match what % 7 {
            0 => allocate(),
            1 => put(edge(x, FOLLOWS, y), time),
            2 => remove(edge(x, FOLLOWS, y)),
            3 => put_pair(edge(x, LIKES, far), time, apart(LIKED_BY)),
            4 => remove_pair(edge(x, LIKES, far), apart(LIKED_BY)),
            // News of another shard: a deletion leaves a tombstone.
            5 => {
                let seq = Seq(self.next + 1);
                let origin = Position { shard: far.shard(), epoch: EPOCH, seq };
                let value = (time % 2 == 0).then(|| at(time));
                StoreOp::InverseApply { edge: edge(x, LIKED_BY, far), value, origin }
            }
            _ => add(ObjectId::new(self.shard, (1 << 30) + self.next), text("\0\u{1}data")),
        };
        WriteUnit { epoch: self.epoch, ..unit_on(self.shard, vec![op]) }
    }

    /// Writes `count` units, each as a request, and purges now and then.
    pub(super) async fn write(&mut self, end: &End, count: u32) -> Verdict {
        for _ in 0..count {
            self.next += 1;
            let what = self.rng.random();
            let unit = request(self.next.into(), Duration::ZERO, self.plain(what));
            done_alone(&end.store, unit).await?;
            if self.next.is_multiple_of(25) {
                let pending = end.store.outbox(self.shard, None, 3).await?;
                for pending in pending {
                    let op = StoreOp::OutboxDone { edge: pending.edge, origin: pending.origin };
                    let unit = WriteUnit { epoch: self.epoch, ..unit_on(self.shard, vec![op]) };
                    done_alone(&end.store, unit).await?;
                }
                // The older half of the requests, and all tombstones.
                end.store.purge(self.shard, Seq(self.next / 2), Duration::ZERO).await?;
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// The last request again.
    pub(super) fn retry(&mut self, epoch: Epoch) -> WriteUnit {
        let unit = request(self.next.into(), Duration::from_secs(1), self.plain(0));
        WriteUnit { epoch, ..unit }
    }
}

/// Compares all tables of two servers.
pub(super) async fn same_rows(one: &End, other: &End, shard: ShardId) -> Verdict {
    let limit = PageLimit { rows: 1_000, bytes: usize::MAX };
    let mut from = Copied::NOTHING;
    while from != Copied::ALL {
        let [left, right] =
            [one.mover.raw_page(shard, from, limit).await?, other.mover.raw_page(shard, from, limit).await?];
        ensure_eq!(right.rows, left.rows, "rows behind {from:?}");
        from = left.to;
    }
    let (left, right) = (one.mover.rows_of_range(shard).await?, other.mover.rows_of_range(shard).await?);
    ensure_eq!(right, left, "numbers of rows");
    // The comparison must have had something of every table that this writer fills.
    ensure!(left.0.iter().filter(|count| **count > 0).count() >= 6, "tables without rows: {left:?}");
    Ok(())
}

/// What a tail gives out up to a heartbeat that is written now.
pub(super) async fn up_to_now(end: &End, tail: &mut dyn LogTail) -> Result<Vec<TailEvent>, Failure> {
    let beat = Beat { writer: BeatWriter::of("moves"), nonce: rand::random() };
    let time = end.log.beat(beat).await?;
    let mut told = Vec::new();
    loop {
        let more = tokio::time::timeout(PATIENCE, tail.next()).await;
        for event in more.map_err(|_| "a heartbeat did not come through the log")?? {
            if event == (TailEvent::Beat { beat, time }) {
                return Ok(told);
            }
            told.push(event);
        }
    }
}
