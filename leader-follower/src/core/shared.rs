//! [`SharedShard`]: a core that many threads read while one changes it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

use parking_lot::Mutex;
use tao_schema::ids::{Epoch, Position, Seq, ShardId};
use tao_schema::planted::{Bug, planted};

use super::lookup::View;
use super::{CoreOptions, Entries, Key, LineageProblem, Lookup, MissReason, ShardCore};

/// A [`ShardCore`] behind a lock, with a way in for readers that takes none.
///
/// # Why a reader's claim is right (R11, H12)
///
/// Writers hold the lock through a whole event: entries are changed first, then what they prove is published. A reader
/// takes the steps: stamp, facts (epoch, generation, watermark, trust), entry, stamp again; and gives up (to the lock) if
/// the stamp was odd or has moved. Then:
///
/// - The watermark was loaded, with acquire, before the entry, and was stored, with release, after every change up to it
///   was applied. So the entry knows all of them, if it was in memory under this generation; a change applied meanwhile
///   left its own seq in the entry's `as_of`. The other order would stamp an old entry with a new watermark.
/// - Generation, epoch and trust change only between an odd and an even stamp. Facts of two generations never mix: to
///   have read any fact stored inside such a window, the reader must have seen a stamp that is odd or later, first or
///   last. So a watermark is only ever paired with the generation that it belongs to, and an entry of another
///   generation is no entry. (With a watermark and a generation published one after the other, in either order, a
///   reader can pair the old watermark with an entry stored after the reset.)
/// - A fill is checked and stored under the lock, at the watermark of that moment, which is not below the reader's.
#[derive(Debug)]
pub struct SharedShard {
    shard: ShardId,
    core: Mutex<ShardCore>,
    /// Odd while facts other than the watermark change.
    stamp: AtomicU64,
    watermark: AtomicU64,
    epoch: AtomicU32,
    generation: AtomicU32,
    continuous: AtomicBool,
    /// Test builds: reads the watermark after the entry, to show what goes wrong then.
    #[cfg(test)]
    pub(crate) entry_first: bool,
}

impl SharedShard {
    /// A shard that knows nothing. Must live as long as the cache engine: see [`ShardCore`].
    pub fn new(shard: ShardId, options: CoreOptions) -> Self {
        Self {
            shard,
            core: Mutex::new(ShardCore::new(shard, options)),
            stamp: AtomicU64::new(0),
            watermark: AtomicU64::new(0),
            epoch: AtomicU32::new(0),
            generation: AtomicU32::new(0),
            continuous: AtomicBool::new(false),
            #[cfg(test)]
            entry_first: !options.rules.hold(super::rules::Rule::WatermarkFirst),
        }
    }

    /// The shard.
    pub const fn shard(&self) -> ShardId {
        self.shard
    }

    /// Runs an event of the core under the lock and publishes what it changed. Keep it short: never wait inside.
    ///
    /// What must be atomic with the event (registering a subscriber with [`ShardCore::ring_after`], passing on what
    /// [`ShardCore::on_commit`] published) belongs inside.
    pub fn with<R>(&self, event: impl FnOnce(&mut ShardCore) -> R) -> R {
        let mut core = self.core.lock();
        let result = event(&mut core);
        self.publish(&core.view());
        result
    }

    /// What memory answers for `key` to a reader that demands `at_least`. Takes no lock on the usual path.
    pub fn lookup(&self, entries: &dyn Entries, key: &Key, at_least: Option<Position>) -> Lookup {
        #[cfg(test)]
        if self.entry_first {
            let entry = entries.get(key);
            std::thread::yield_now();
            return self
                .view()
                .map_or(Lookup::Miss(MissReason::NoStream), |(view, _)| view.judge(entry, at_least));
        }
        if let Some((mut view, stamp)) = self.view()
            && view.comparable(at_least)
        {
            if !view.continuous {
                return Lookup::Miss(MissReason::NoStream);
            }
            let entry = entries.get(key);
            if planted(Bug::TornClaim) {
                std::thread::yield_now();
                view.watermark = Seq(self.watermark.load(Ordering::Acquire));
            }
            if self.unchanged(stamp) {
                return view.judge(entry, at_least);
            }
        }
        // A reset or the like is under way, or the token is of another epoch: rare, and short.
        self.core.lock().lookup(entries, key, at_least)
    }

    /// Epoch and watermark, of one moment.
    pub fn position(&self) -> Position {
        if let Some((view, stamp)) = self.view()
            && self.unchanged(stamp)
        {
            return Position { shard: self.shard, epoch: view.epoch, seq: view.watermark };
        }
        self.core.lock().position()
    }

    /// Whether entries may be served now.
    pub fn is_continuous(&self) -> bool {
        self.continuous.load(Ordering::Acquire)
    }

    /// See [`ShardCore::check_lineage`]; takes the lock if there is anything to check.
    ///
    /// # Errors
    /// As there.
    pub fn check_lineage(&self, positions: &[Position]) -> Result<(), LineageProblem> {
        if positions.is_empty() { Ok(()) } else { self.core.lock().check_lineage(positions) }
    }

    /// See [`ShardCore::floor`]; takes the lock.
    pub fn floor(&self, key: &Key) -> Seq {
        self.core.lock().floor(key)
    }

    /// See [`ShardCore::need`]; takes the lock.
    pub fn need(&self, key: &Key) -> Position {
        self.core.lock().need(key)
    }

    /// The facts with the stamp they were read under; `None` while they change.
    fn view(&self) -> Option<(View, u64)> {
        let stamp = self.stamp.load(Ordering::Acquire);
        if stamp % 2 == 1 {
            return None;
        }
        let view = View {
            shard: self.shard,
            epoch: Epoch(self.epoch.load(Ordering::Acquire)),
            watermark: Seq(self.watermark.load(Ordering::Acquire)),
            generation: self.generation.load(Ordering::Acquire),
            continuous: self.continuous.load(Ordering::Acquire),
        };
        Some((view, stamp))
    }

    /// Whether the facts read under `stamp` still stood when everything before this call was read.
    fn unchanged(&self, stamp: u64) -> bool {
        // Keeps the loads before it before the load of the stamp.
        fence(Ordering::Acquire);
        self.stamp.load(Ordering::Relaxed) == stamp
    }

    /// Only the holder of the lock comes here, so plain loads tell what is published.
    fn publish(&self, view: &View) {
        let same = self.epoch.load(Ordering::Relaxed) == view.epoch.0
            && self.generation.load(Ordering::Relaxed) == view.generation
            && self.continuous.load(Ordering::Relaxed) == view.continuous
            && self.watermark.load(Ordering::Relaxed) <= view.watermark.0;
        if same {
            self.watermark.store(view.watermark.0, Ordering::Release);
            return;
        }
        let stamp = self.stamp.load(Ordering::Relaxed);
        self.stamp.store(stamp + 1, Ordering::Relaxed);
        // Whoever reads one of the facts below reads the odd stamp, or a later one, after it.
        fence(Ordering::Release);
        self.generation.store(view.generation, Ordering::Release);
        self.epoch.store(view.epoch.0, Ordering::Release);
        self.watermark.store(view.watermark.0, Ordering::Release);
        self.continuous.store(view.continuous, Ordering::Release);
        self.stamp.store(stamp + 2, Ordering::Release);
    }
}
