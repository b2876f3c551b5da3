//! Limits and times of a follower.

use std::time::Duration;

use tao_schema::limits::MAX_QUERY_LIMIT;
use tao_schema::{Error, Result};

use crate::core::CoreOptions;
use crate::engine::{EngineKind, EngineOptions};
use crate::fills::FillLimits;

/// What a follower may use and how long it waits. Every bound of the service is here.
#[derive(Clone, Debug)]
pub struct FollowerOptions {
    /// Which cache engine.
    pub engine: EngineKind,
    /// Memory for entries, in bytes, with keys and the engine's own overhead.
    pub cache_bytes: u64,
    /// Limits of each shard's core: ring, floors, longest cached list.
    pub core: CoreOptions,
    /// Coalesced fills in flight, and callers waiting for the fill of another, over all shards. More are refused as
    /// `Overloaded`.
    pub fills: FillLimits,
    /// Reads and fills in flight at one leader; more are refused as `Overloaded`.
    pub reads_per_leader: usize,
    /// Forwarded writes in flight at one leader; more are refused as `Overloaded`.
    pub writes_per_leader: usize,
    /// Leaders that one call is tried at, one after the other, while nothing was done. At least 1.
    pub attempts: usize,
    /// Edges that the first fill of a list asks for, unless the query needs more. At most [`MAX_QUERY_LIMIT`].
    pub list_fill_edges: u32,
    /// A leader's heartbeat interval.
    pub heartbeat: Duration,
    /// A change stream that is silent for so many heartbeats is lost. At least 2.
    pub missed_heartbeats: u32,
    /// How often each change stream is asked how old its leader's knowledge is (R20).
    pub probe_every: Duration,
    /// A shard whose knowledge is older than this, by a clock that counts suspension, is not served from memory (R21).
    /// [`Duration::MAX`]: there is no limit, not even for what nobody has vouched for.
    pub max_age: Duration,
    /// Opening a change stream, or asking it for shards, takes at most this.
    pub connect_timeout: Duration,
    /// First wait before a lost stream is opened again; doubles up to `backoff_max`, with jitter.
    pub backoff: Duration,
    /// Longest wait between attempts to open a stream or to subscribe a shard.
    pub backoff_max: Duration,
    /// So many failures in a row, and a leader is passed over until a change stream to it opens again. At least 1.
    pub leader_failures: u32,
    /// A shard that is reset more often than this within `reset_window` is served uncached for a while (R16).
    pub resets_tolerated: u32,
    /// See `resets_tolerated`.
    pub reset_window: Duration,
    /// A shard that nobody has read for so long is unsubscribed and dropped from memory.
    pub idle_unsubscribe: Duration,
    /// Shards that may wait to be subscribed; a read beyond asks again.
    pub subscribe_queue: usize,
    /// A call of which nothing was done, because no leader could (`NotOwner`, `Unavailable`), is tried again for so
    /// long, within its deadline: as a rule a promotion is over by then, and the newer topology there. First after
    /// `backoff`, then after twice that, and so on; at once when a newer topology comes. Zero: never.
    pub patience: Duration,
    /// `shutdown` waits at most this long for forwarded writes.
    pub drain: Duration,
}

impl Default for FollowerOptions {
    fn default() -> Self {
        Self {
            engine: EngineKind::default(),
            cache_bytes: EngineOptions::default().capacity_bytes,
            core: CoreOptions::default(),
            fills: FillLimits { in_flight: 8_192, waiting: 65_536 },
            reads_per_leader: 4_096,
            writes_per_leader: 8_192,
            attempts: 2,
            list_fill_edges: 128,
            heartbeat: Duration::from_millis(500),
            missed_heartbeats: 3,
            probe_every: Duration::from_millis(250),
            max_age: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(2),
            backoff: Duration::from_millis(50),
            backoff_max: Duration::from_secs(5),
            leader_failures: 3,
            resets_tolerated: 3,
            reset_window: Duration::from_secs(10),
            idle_unsubscribe: Duration::from_secs(600),
            subscribe_queue: 4_096,
            patience: Duration::from_secs(3),
            drain: Duration::from_secs(5),
        }
    }
}

impl FollowerOptions {
    /// How long a change stream may be silent.
    pub fn liveness(&self) -> Duration {
        self.heartbeat.saturating_mul(self.missed_heartbeats)
    }

    /// How often the subscription task looks at its clock: often enough to see a silent stream within a heartbeat.
    pub(super) fn tick(&self) -> Duration {
        (self.heartbeat / 2).max(Duration::from_millis(1))
    }

    /// Checks the values against each other.
    ///
    /// # Errors
    /// `InvalidArgument`, naming the option.
    pub fn validate(&self) -> Result<()> {
        let positive = [
            ("fills.in_flight", self.fills.in_flight),
            ("cache_bytes", usize::try_from(self.cache_bytes).unwrap_or(usize::MAX)),
            ("reads_per_leader", self.reads_per_leader),
            ("writes_per_leader", self.writes_per_leader),
            ("attempts", self.attempts),
            ("leader_failures", self.leader_failures as usize),
            ("subscribe_queue", self.subscribe_queue),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(Error::invalid(format!("follower option {name} must be at least 1")));
        }
        let times = [
            ("heartbeat", self.heartbeat),
            ("probe_every", self.probe_every),
            ("connect_timeout", self.connect_timeout),
            ("backoff", self.backoff),
            ("idle_unsubscribe", self.idle_unsubscribe),
        ];
        if let Some((name, _)) = times.iter().find(|(_, value)| value.is_zero()) {
            return Err(Error::invalid(format!("follower option {name} must be longer than zero")));
        }
        if self.list_fill_edges > MAX_QUERY_LIMIT {
            return Err(Error::invalid(format!(
                "follower option list_fill_edges is {}, the most is {MAX_QUERY_LIMIT}",
                self.list_fill_edges
            )));
        }
        if self.missed_heartbeats < 2 {
            return Err(Error::invalid(
                "follower option missed_heartbeats must be at least 2: one late heartbeat is no loss",
            ));
        }
        if self.max_age < self.probe_every.saturating_mul(2) {
            return Err(Error::invalid(
                "follower option max_age must be at least twice probe_every: one late answer is no loss",
            ));
        }
        if self.backoff > self.backoff_max {
            return Err(Error::invalid("follower option backoff is longer than backoff_max"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_each_wrong_value_is_named() {
        let good = FollowerOptions::default();
        good.validate().unwrap();
        let wrong: [(&str, FollowerOptions); 7] = [
            ("attempts", FollowerOptions { attempts: 0, ..good.clone() }),
            ("list_fill_edges", FollowerOptions { list_fill_edges: 7_000, ..good.clone() }),
            ("missed_heartbeats", FollowerOptions { missed_heartbeats: 1, ..good.clone() }),
            ("backoff_max", FollowerOptions { backoff: Duration::from_secs(9), ..good.clone() }),
            ("heartbeat", FollowerOptions { heartbeat: Duration::ZERO, ..good.clone() }),
            ("probe_every", FollowerOptions { probe_every: Duration::ZERO, ..good.clone() }),
            ("max_age", FollowerOptions { max_age: Duration::from_millis(499), ..good.clone() }),
        ];
        for (name, options) in wrong {
            let error = options.validate().unwrap_err();
            assert!(error.message.contains(name), "{name}: {error}");
        }
    }
}
