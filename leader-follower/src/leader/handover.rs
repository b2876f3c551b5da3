//! Whose log feeds a shard, and what another host group's log has told of it already (R25).
//!
//! A move ends with a fence in the source's log, at `F`, and an epoch that begins at `F + 1` in the target's. A leader
//! follows both logs, and either may be ahead. So each shard has one *feed*: the host group whose log goes into its core.
//! What another group's log says of the shard from a new epoch on is kept, in order, until the topology has the shard
//! there and the feed has brought everything up to the fence. Then the feed changes hands under the lock that every event
//! of a feed takes: the epoch continues where the core stands, and no entry, watermark or subscriber notices (a move starts
//! no cold cache).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use tao_schema::ids::{Epoch, HostGroupId, Position};
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::{EpochStart, ShardChange, ShardState};
use tokio::sync::Notify;

/// Events of a shard that are kept at most; one more, and the shard starts anew from the target's rows.
const KEPT: usize = 8_192;
/// No host group: numbers of host groups are shorter.
const NOBODY: u32 = u32::MAX;

/// What a log told of a shard that it does not feed.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Arrival {
    /// An epoch begins.
    Epoch(EpochStart),
    /// A change of it.
    Change {
        /// The change.
        change: Arc<ShardChange>,
        /// The shard row's state behind it.
        state: ShardState,
        /// Whether it is committed for certain (R7).
        visible: bool,
    },
}

/// What one group's log has told.
#[derive(Debug)]
struct Arriving {
    group: HostGroupId,
    start: EpochStart,
    /// In the order of the log, `start` first.
    kept: VecDeque<Arrival>,
    /// Too much came, or the log was left on the way: what is kept has a hole.
    broken: bool,
}

/// A shard's feed.
#[derive(Debug)]
pub(super) struct Handover {
    feed: AtomicU32,
    arriving: Mutex<Option<Arriving>>,
    changed: Notify,
}

/// What became of an attempt to change hands.
#[derive(Debug, PartialEq)]
pub(super) enum Switch {
    /// Done; these follow, in order.
    Done(VecDeque<Arrival>),
    /// Not yet: the feed has not come to the fence, or the other log has told of nothing.
    NotYet,
    /// What the other log told is not whole.
    Broken,
}

impl Default for Handover {
    fn default() -> Self {
        Self { feed: AtomicU32::new(NOBODY), arriving: Mutex::default(), changed: Notify::new() }
    }
}

impl Handover {
    /// The group whose log feeds the shard; `None`: no log was followed yet.
    pub(super) fn feed(&self) -> Option<HostGroupId> {
        u16::try_from(self.feed.load(Ordering::Acquire)).ok().map(HostGroupId)
    }

    /// Whether it is this one.
    pub(super) fn is_fed_by(&self, group: HostGroupId) -> bool {
        self.feed() == Some(group)
    }

    /// Makes `group` the feed of a shard that has none. Answers whether it is the feed now.
    pub(super) fn adopt(&self, group: HostGroupId) -> bool {
        let _guard = self.arriving.lock();
        if self.feed().is_none() {
            self.set(group);
        }
        self.is_fed_by(group)
    }

    /// Runs an event of `group`'s log, if it feeds the shard: never beside a change of hands.
    pub(super) fn if_fed_by<T>(&self, group: HostGroupId, event: impl FnOnce() -> T) -> Option<T> {
        let _guard = self.arriving.lock();
        self.is_fed_by(group).then(event)
    }

    /// `group`'s log, which does not feed the shard, tells of an epoch that is newer than `known`. Answers whether it had
    /// told of one before: then that host group has failed over since.
    pub(super) fn begin(&self, group: HostGroupId, start: EpochStart, known: Epoch) -> bool {
        let mut arriving = self.arriving.lock();
        if self.is_fed_by(group) || start.epoch <= known {
            return false;
        }
        match &mut *arriving {
            Some(more) if more.group == group => {
                more.keep(Arrival::Epoch(start));
                true
            }
            // Of two groups the one with the newer epoch has the shard.
            Some(other) if other.start.epoch >= start.epoch => false,
            _ => {
                let kept = VecDeque::from([Arrival::Epoch(start)]);
                *arriving = Some(Arriving { group, start, kept, broken: false });
                false
            }
        }
    }

    /// A change behind that epoch.
    pub(super) fn keep(&self, group: HostGroupId, arrival: Arrival) {
        if let Some(arriving) = self.arriving.lock().as_mut().filter(|arriving| arriving.group == group) {
            arriving.keep(arrival);
        }
    }

    /// `group`'s log is followed elsewhere or anew: what it told and nobody saw committed may never come again.
    pub(super) fn log_lost(&self, group: HostGroupId) {
        if let Some(arriving) = self.arriving.lock().as_mut().filter(|arriving| arriving.group == group) {
            arriving.broken = true;
            arriving.kept.clear();
        }
    }

    /// Whether `group`'s log has told of the shard.
    pub(super) fn arrives_from(&self, group: HostGroupId) -> bool {
        self.arriving.lock().as_ref().is_some_and(|arriving| arriving.group == group)
    }

    /// Makes `group` the feed, if its log has told of an epoch that begins where the core stands: `known`, which may be
    /// held as not known to be visible, for whoever opened the epoch had seen it committed.
    pub(super) fn switch(&self, group: HostGroupId, known: Position) -> Switch {
        let mut arriving = self.arriving.lock();
        match &*arriving {
            // Old news: the shard went on, there or elsewhere, by an epoch that the feed has told of.
            Some(found) if found.start.epoch <= known.epoch => {
                *arriving = None;
                Switch::NotYet
            }
            Some(found) if found.group == group && found.broken => Switch::Broken,
            Some(found)
                if found.group == group
                    && (found.start.first_seq <= known.seq.next() || planted(Bug::HandoverBeforeFence)) =>
            {
                let kept = arriving.take().map(|found| found.kept).unwrap_or_default();
                self.set(group);
                Switch::Done(kept)
            }
            _ => Switch::NotYet,
        }
    }

    /// Makes `group` the feed whatever was told: the core must start anew.
    pub(super) fn seize(&self, group: HostGroupId) {
        let mut arriving = self.arriving.lock();
        arriving.take_if(|found| found.group == group);
        self.set(group);
    }

    /// Something has changed that calls may wait for.
    pub(super) fn tell(&self) {
        self.changed.notify_waiters();
    }

    /// Waits for the next [`Self::tell`] after this call. Cancel-safe.
    pub(super) fn told(&self) -> impl Future<Output = ()> {
        self.changed.notified()
    }

    fn set(&self, group: HostGroupId) {
        self.feed.store(group.0.into(), Ordering::Release);
    }
}

impl Arriving {
    fn keep(&mut self, arrival: Arrival) {
        if self.kept.len() >= KEPT {
            self.broken = true;
            self.kept.clear();
        }
        if !self.broken && !planted(Bug::ArrivalsForgotten) {
            self.kept.push_back(arrival);
        }
    }
}

#[cfg(test)]
mod tests {
    use tao_schema::ids::{Seq, ShardId};

    use super::*;

    const OLD: HostGroupId = HostGroupId(1);
    const NEW: HostGroupId = HostGroupId(2);
    const START: EpochStart = EpochStart { epoch: Epoch(2), first_seq: Seq(11) };

    fn at(seq: u64) -> Position {
        Position { shard: ShardId(0), epoch: Epoch(1), seq: Seq(seq) }
    }

    fn change(seq: u64) -> Arrival {
        let change = ShardChange { shard: ShardId(0), epoch: Epoch(2), seq: Seq(seq), items: Vec::new() };
        Arrival::Change { change: Arc::new(change), state: ShardState::Serving, visible: true }
    }

    fn fed_by_old() -> Handover {
        let handover = Handover::default();
        assert!(handover.adopt(OLD) && !handover.adopt(NEW));
        handover
    }

    #[test]
    fn hands_change_at_the_fence_and_not_before() {
        let handover = fed_by_old();
        handover.keep(NEW, change(10));
        assert_eq!(handover.switch(NEW, at(10)), Switch::NotYet, "nothing is known of the new epoch");
        assert!(!handover.begin(NEW, START, Epoch(1)));
        handover.keep(NEW, change(11));
        handover.keep(OLD, change(12));
        assert_eq!(handover.switch(NEW, at(9)), Switch::NotYet, "the fence has not come");
        assert_eq!(handover.if_fed_by(NEW, || ()), None);
        let Switch::Done(kept) = handover.switch(NEW, at(10)) else { panic!("no change of hands") };
        assert_eq!(kept, [Arrival::Epoch(START), change(11)]);
        assert_eq!((handover.feed(), handover.if_fed_by(OLD, || ())), (Some(NEW), None));
    }

    #[test]
    fn a_log_that_was_left_on_the_way_is_not_believed() {
        let handover = fed_by_old();
        assert!(!handover.begin(NEW, START, Epoch(2)), "an old epoch");
        assert!(!handover.arrives_from(NEW));
        handover.begin(NEW, START, Epoch(1));
        handover.log_lost(OLD);
        assert_eq!(handover.switch(NEW, at(3)), Switch::NotYet);
        handover.log_lost(NEW);
        handover.keep(NEW, change(11));
        assert_eq!(handover.switch(NEW, at(10)), Switch::Broken);
        handover.seize(NEW);
        assert!(handover.is_fed_by(NEW) && !handover.arrives_from(NEW));
    }

    #[test]
    fn an_epoch_that_the_feed_has_passed_is_old_news() {
        let handover = fed_by_old();
        handover.begin(NEW, START, Epoch(1));
        let later = Position { epoch: Epoch(3), ..at(30) };
        assert_eq!(handover.switch(NEW, later), Switch::NotYet);
        assert!(!handover.arrives_from(NEW) && handover.is_fed_by(OLD));
    }

    #[test]
    fn too_much_is_a_hole_not_a_leak() {
        let handover = fed_by_old();
        handover.begin(NEW, START, Epoch(1));
        for seq in 0..KEPT as u64 {
            handover.keep(NEW, change(11 + seq));
        }
        assert_eq!(handover.switch(NEW, at(10)), Switch::Broken);
    }

    #[test]
    fn the_newest_owner_counts_and_a_second_epoch_of_it_is_a_failover() {
        let handover = fed_by_old();
        let third = HostGroupId(3);
        handover.begin(NEW, START, Epoch(1));
        assert!(!handover.begin(third, EpochStart { epoch: Epoch(2), ..START }, Epoch(1)));
        assert!(handover.arrives_from(NEW));
        handover.begin(third, EpochStart { epoch: Epoch(3), ..START }, Epoch(1));
        assert!(handover.arrives_from(third));
        assert!(handover.begin(third, EpochStart { epoch: Epoch(4), first_seq: Seq(20) }, Epoch(1)));
    }
}
