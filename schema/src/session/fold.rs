//! Making a session small: old positions become a time.

use std::time::Duration;

use super::{MAX_SECONDS, Session};
use crate::ids::{Epoch, ShardId};
use crate::planted::{Bug, planted};

/// Bytes that one position takes at most: shard, epoch, seq, group, two ages.
const ENTRY_BYTES: usize = 3 + 5 + 10 + 3 + 10 + 10;

/// When a position may become a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Folding {
    /// Positions younger than this are not folded: what a lossy promotion may still lose. A position notices the loss
    /// ([`crate::ErrorCode::LostEpoch`]); a time can't, because the new primary's clock passes it all the same. Default
    /// 60 s: more than the replicas' lag. Where all host groups are lossless it may be zero.
    pub loss_window: Duration,
    /// Added to the time of what is folded. A heartbeat takes its time before it commits, clocks differ in rate and are set
    /// back by a little: this is the room for both. Default 30 s, which costs nothing, as what is folded is older than 60 s.
    pub slack: Duration,
}

impl Default for Folding {
    fn default() -> Self {
        Self { loss_window: Duration::from_secs(60), slack: Duration::from_secs(30) }
    }
}

/// A session can't be made as small as was asked: the positions that are left are too young to fold, or have no known time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the session needs {bytes} bytes, {max_bytes} are allowed: its {positions} positions are too young to fold"
)]
pub struct NoRoom {
    /// What it needs.
    pub bytes: usize,
    /// What was allowed.
    pub max_bytes: usize,
    /// Positions that are left.
    pub positions: usize,
}

impl Session {
    /// Folds positions into the time floors of their host groups, oldest first, until the [binary form](Session::to_bytes)
    /// takes at most `max_bytes`. Never drops one: see [`Folding`] for which may be folded.
    ///
    /// A position is old when two clocks say so: that of the observers (`now`, since the Unix epoch), and that of the primary,
    /// by the latest time that a reply of its host group told. One of them alone may be wrong: the web servers that hand a
    /// session to each other may differ by an hour, and so may an old primary and the one that replaced it.
    ///
    /// # Errors
    /// [`NoRoom`] if what is left can't be folded; what could be folded is folded.
    pub fn shrink(&mut self, max_bytes: usize, folding: &Folding, now: Duration) -> Result<(), NoRoom> {
        let mut bytes = self.to_bytes().len();
        if bytes <= max_bytes {
            return Ok(());
        }
        let mut old = self.oldest_first(folding.loss_window, now).into_iter();
        while bytes > max_bytes {
            let before = self.len();
            // As many as must go at least. Most entries are shorter, so there are several rounds, each for what the ones
            // before have left over.
            for key in old.by_ref().take((bytes - max_bytes).div_ceil(ENTRY_BYTES)) {
                self.fold(key, folding.slack);
            }
            if self.len() == before {
                return Err(NoRoom { bytes, max_bytes, positions: before });
            }
            bytes = self.to_bytes().len();
        }
        Ok(())
    }

    /// What may be folded.
    fn oldest_first(&self, loss_window: Duration, now: Duration) -> Vec<(ShardId, Epoch)> {
        let window_s = loss_window.as_secs() + u64::from(loss_window.subsec_nanos() > 0);
        let mut old: Vec<_> = self
            .seen
            .iter()
            .filter_map(|(&key, seen)| {
                let when = seen.when?;
                let latest_s = self.groups.get(&when.group)?.latest_s;
                let age_s = latest_s.saturating_sub(when.time_s).min(now.as_secs().saturating_sub(when.at_s));
                (age_s >= window_s).then_some((std::cmp::Reverse(age_s), key))
            })
            .collect();
        old.sort_unstable();
        old.into_iter().map(|(_, key)| key).collect()
    }

    fn fold(&mut self, key: (ShardId, Epoch), slack: Duration) {
        let Some(when) = self.seen.remove(&key).and_then(|seen| seen.when) else { return };
        let slack_s = slack.as_secs() + u64::from(slack.subsec_nanos() > 0);
        if planted(Bug::FoldDrops) {
            return;
        }
        let times = self.groups.entry(when.group).or_default();
        times.floor_s = times.floor_s.max(when.time_s.saturating_add(slack_s).min(MAX_SECONDS));
    }
}
