//! What a user has seen: the positions behind "read your own writes" and "never go back" (PROTOCOL R19).

mod fold;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;
use std::time::Duration;

pub use self::fold::{Folding, NoRoom};
use crate::ids::{Epoch, HostGroupId, Position, PrimaryTime, Seq, ShardId};
use crate::ops::Demand;
use crate::planted::{Bug, planted};

/// The positions that a user has written or read: one for each (shard, epoch), and a time floor for each host group.
///
/// Every reply carries positions; who notes them here ([`Session::observe_at`]) and sends [`Session::demand`] with the next
/// read never sees older data than before, on any node.
///
/// # Why several epochs of one shard
/// A promotion may have lost the end of an epoch. Then an old position, (3, 120) say, is not covered by a newer one,
/// (4, 150): keeping only the greatest would hide that a write was lost (hole H19). So both stay, and the next read names the
/// older ones as its lineage; its answer proves them ([`Session::proved`]) or is [`crate::ErrorCode::LostEpoch`].
///
/// # Floors
/// A session that must be small folds its old positions into "everything committed up to T" ([`Session::shrink`]). T is kept
/// for each host group, because it is read from the clock of that group's primary, and two primaries' clocks may be an hour
/// apart: it is compared with heartbeats of the same group only, and never with another clock. Which group a shard is in,
/// the caller knows from the topology. A shard that has moved since brings its history along: a replica shows the new
/// epoch only after all of the old one. So with a floor a read also demands the epoch that the caller's topology names
/// ([`Place`]): a node that has not heard of the move can't vouch with the clock of the wrong group.
///
/// ```
/// use tao_schema::ids::{Epoch, Position, Seq, ShardId};
/// use tao_schema::session::Session;
///
/// let wrote = Position { shard: ShardId(7), epoch: Epoch(1), seq: Seq(42) };
/// let mut session = Session::new();
/// session.observe(wrote);
///
/// let elsewhere: Session = session.to_string().parse()?;
/// assert_eq!(elsewhere.demand(ShardId(7), None).at_least, Some(wrote));
/// # Ok::<(), tao_schema::Error>(())
/// ```
///
/// # Text form
/// [`std::fmt::Display`] and [`std::str::FromStr`] hand a session to another process: URL-safe base64 without padding of
/// the [binary form](Session::to_bytes) and, behind it, the low 4 bytes, little endian, of its `xxh3_64`. The check sum finds
/// accidents, not forgery: do not accept a text from someone you do not trust. For browsers there is the cookie of the
/// client library, which is signed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Session {
    seen: BTreeMap<(ShardId, Epoch), Seen>,
    groups: BTreeMap<HostGroupId, GroupTimes>,
}

/// When something was seen: by the clock of the primary that committed it, which is comparable only within its host group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupTime {
    /// The host group.
    pub group: HostGroupId,
    /// Not earlier than the commit.
    pub time: PrimaryTime,
}

/// Where the caller's topology has a shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its host group.
    pub group: HostGroupId,
    /// Its epoch there.
    pub epoch: Epoch,
}

/// Of one epoch of one shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seen {
    seq: Seq,
    /// `None`: not known; such an entry is never folded.
    when: Option<When>,
}

/// All in whole seconds, rounded up: an entry looks younger than it is, never older.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct When {
    group: HostGroupId,
    /// Not earlier than the commit, by the primary's clock.
    time_s: u64,
    /// When it was first observed, by the observer's clock.
    at_s: u64,
}

/// Of one host group, in seconds of its primary's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct GroupTimes {
    /// Everything committed up to here was seen; 0: nothing was folded.
    floor_s: u64,
    /// The latest time that any reply told.
    latest_s: u64,
}

/// Times are milliseconds in 64 bits; a floor may be a little above.
const MAX_SECONDS: u64 = u64::MAX / 500;

impl Session {
    /// A session that has seen nothing.
    pub const fn new() -> Self {
        Self { seen: BTreeMap::new(), groups: BTreeMap::new() }
    }

    /// Notes a position without a time: it is never folded. Within an epoch the greater seq stays; epochs stay side by side.
    pub fn observe(&mut self, position: Position) {
        self.note(position, None);
    }

    /// Notes a position of a reply, with the time that the reply told. `now` is the caller's clock since the Unix epoch.
    pub fn observe_at(&mut self, position: Position, time: Option<GroupTime>, now: Duration) {
        let when = time.map(|GroupTime { group, time }| {
            let time_s = time.0.div_ceil(1_000);
            let times = self.groups.entry(group).or_default();
            times.latest_s = times.latest_s.max(time_s);
            When { group, time_s, at_s: now.as_secs() + u64::from(now.subsec_nanos() > 0) }
        });
        self.note(position, when);
    }

    fn note(&mut self, position: Position, when: Option<When>) {
        let new = Seen { seq: position.seq, when };
        let entry = self.seen.entry((position.shard, position.epoch)).or_insert(new);
        if new.seq > entry.seq {
            *entry = new;
        } else if new.seq == entry.seq {
            // The first sight bounds the commit best.
            entry.when = match (entry.when, new.when) {
                (Some(known), Some(other)) if known.group == other.group => Some(When {
                    group: known.group,
                    time_s: known.time_s.min(other.time_s),
                    at_s: known.at_s.min(other.at_s),
                }),
                (known, other) => known.or(other),
            };
        }
    }

    /// Notes everything that another session has seen.
    pub fn merge(&mut self, other: &Self) {
        for (&(shard, epoch), seen) in other.seen.iter().skip(usize::from(planted(Bug::MergeDropsShard))) {
            self.note(Position { shard, epoch, seq: seen.seq }, seen.when);
        }
        for (&group, theirs) in &other.groups {
            let times = self.groups.entry(group).or_default();
            times.floor_s = times.floor_s.max(theirs.floor_s);
            times.latest_s = times.latest_s.max(theirs.latest_s);
        }
    }

    /// What a read of this shard demands (R19). `place`: where the caller's topology has the shard; without it the highest
    /// of all floors holds, which may send the read further up than needed.
    ///
    /// The lineage may be longer than [`crate::limits::MAX_LINEAGE`] only if a shard went through more epochs since this
    /// session last read it; nodes refuse such a read by name.
    pub fn demand(&self, shard: ShardId, place: Option<Place>) -> Demand {
        let mut demand = Demand::local();
        for (&(shard, epoch), seen) in self.of(shard) {
            require(&mut demand, Position { shard, epoch, seq: seen.seq });
        }
        let floors = || self.groups.values().map(|times| times.floor_s).filter(|floor| *floor > 0);
        let floor = match place {
            Some(place) => {
                self.groups.get(&place.group).map(|times| times.floor_s).filter(|floor| *floor > 0)
            }
            None => floors().max(),
        };
        demand.not_before = floor.map(|floor_s| PrimaryTime(floor_s.saturating_mul(1_000)));
        if let (Some(place), Some(_)) = (place, floors().next()) {
            // A floor speaks of the shard's history as the caller's topology knows it. Seq 0 asks for the epoch alone.
            require(&mut demand, Position { shard, epoch: place.epoch, seq: Seq::ZERO });
        }
        demand
    }

    /// An answer at `answered` has proved what its request demanded: positions of earlier epochs are part of the shard's one
    /// history now, and are dropped. Those that were observed meanwhile stay.
    pub fn proved(&mut self, demanded: &Demand, answered: Position) {
        for sent in demanded.lineage.iter().chain(&demanded.at_least) {
            let key = (sent.shard, sent.epoch);
            let is_earlier = sent.shard == answered.shard && sent.epoch < answered.epoch;
            if is_earlier && self.seen.get(&key).is_some_and(|seen| seen.seq <= sent.seq) {
                self.seen.remove(&key);
            }
        }
    }

    /// Forgets the positions of one shard: after [`crate::ErrorCode::LostEpoch`], when the user was told that something
    /// that he had seen there is lost.
    pub fn forget(&mut self, shard: ShardId) {
        self.seen.retain(|(of, _), _| *of != shard);
    }

    /// The newest position of a shard; `None`: none is kept.
    pub fn at_least(&self, shard: ShardId) -> Option<Position> {
        let (&(shard, epoch), seen) = self.of(shard).next_back()?;
        Some(Position { shard, epoch, seq: seen.seq })
    }

    /// All positions, in ascending order of shard and epoch.
    pub fn positions(&self) -> impl ExactSizeIterator<Item = Position> {
        self.seen.iter().map(|(&(shard, epoch), seen)| Position { shard, epoch, seq: seen.seq })
    }

    /// The time up to which everything of a host group was seen, if positions were folded.
    pub fn floor(&self, group: HostGroupId) -> Option<PrimaryTime> {
        let floor_s = self.groups.get(&group)?.floor_s;
        (floor_s > 0).then(|| PrimaryTime(floor_s.saturating_mul(1_000)))
    }

    /// Number of positions.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether nothing was seen, and so nothing is demanded.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty() && self.groups.values().all(|times| times.floor_s == 0)
    }

    fn of(&self, shard: ShardId) -> impl DoubleEndedIterator<Item = (&(ShardId, Epoch), &Seen)> {
        self.seen.range((shard, Epoch(0))..=(shard, Epoch(u32::MAX)))
    }
}

/// Makes `demand` ask for `position` as well: the newest epoch is its `at_least`, others are its lineage.
pub fn require(demand: &mut Demand, position: Position) {
    let Some(newest) = &mut demand.at_least else {
        demand.at_least = Some(position);
        return;
    };
    if newest.epoch == position.epoch {
        newest.seq = newest.seq.max(position.seq);
        return;
    }
    let older = if newest.epoch < position.epoch { std::mem::replace(newest, position) } else { position };
    match demand.lineage.iter_mut().find(|known| known.epoch == older.epoch) {
        Some(known) => known.seq = known.seq.max(older.seq),
        // Seq 0 is in every history.
        None if older.seq == Seq::ZERO => {}
        None => demand.lineage.push(older),
    }
}

impl Extend<Position> for Session {
    fn extend<T: IntoIterator<Item = Position>>(&mut self, positions: T) {
        for position in positions {
            self.observe(position);
        }
    }
}
