//! Brings a system's cache to a hit rate: a size by the [`Search`], filled with what it would hold after a long run, and then run
//! until the hit rate stays.
//!
//! The filling is what makes it end: at 96 % hits a cache takes in four entries with a hundred reads, so one that begins empty is
//! still filling after minutes, and every size looks alike meanwhile: as the reads of a few seconds do that nobody has asked
//! before.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;

use super::search::{Search, Tried};
use super::stack::{Counts, Stack};
use super::systems::{CALLERS, Systems, Who};
use crate::measure::Plan;
use crate::say;
use crate::workloads::{Op, Workload};

/// Sizes that are tried for a hit rate.
const TRIES: usize = 5;
/// So much more than it should hold is offered to a cache.
const SPARE: f64 = 1.15;
/// The longest run before a hit rate is believed, in windows, and the change between two of them at which it is.
const WINDOWS: usize = 8;
const STEADY: f64 = 0.003;

/// Finds sizes. What it learns of a system at one hit rate it uses at the next.
pub struct Reach {
    tier: Stack,
    peers: Stack,
    /// Bytes that a system needs for each of the stack's.
    factors: HashMap<Who, f64>,
    window: Duration,
    seed: u64,
}

impl Reach {
    /// Hit rates are taken over windows of `window`.
    pub fn new(workload: &dyn Workload, window: Duration, seed: u64) -> Self {
        let factors = HashMap::from([(Who::Tier, 1.3), (Who::Memcached, 2.25), (Who::Redis, 1.35)]);
        let stack = |counts| Stack::of(workload, counts, seed);
        Self { tier: stack(Counts::WithEdges), peers: stack(Counts::Apart), factors, window, seed }
    }

    const fn stack(&self, who: Who) -> &Stack {
        match who {
            Who::Tier => &self.tier,
            Who::Memcached | Who::Redis | Who::Mysql => &self.peers,
        }
    }

    /// Gives a system's cache the size at which it hits as often as `target`, and warms it up: the size and what it came to; none
    /// if the system is not installed.
    ///
    /// # Errors
    /// Something does not start, or a call fails.
    pub async fn reach(&mut self, systems: &mut Systems, who: Who, target: f64) -> Result<Option<Tried>> {
        let mut search = Search::new(target);
        let wanted = self.stack(who).bytes_for(target) as f64 * self.factor(who);
        let mut next = Some((wanted as u64).next_multiple_of(who.grain()));
        let mut at = 0;
        for _ in 0..TRIES {
            let Some(bytes) = next else { break };
            if !systems.resize(who, bytes).await? {
                return Ok(None);
            }
            let reached = self.warm(systems, who, bytes).await?;
            say(&format!("  {} with {bytes} bytes: {:.2} % hits", who.name(), reached * 100.0));
            at = bytes;
            next = search.tried(Tried { bytes, reached }, self.stack(who), who.grain());
            self.factors.insert(who, bytes as f64 / self.stack(who).bytes_for(reached) as f64);
        }
        let Some(best) = search.best() else { return Ok(None) };
        self.factors.insert(who, best.bytes as f64 / self.stack(who).bytes_for(best.reached) as f64);
        if best.bytes != at {
            systems.resize(who, best.bytes).await?;
            self.warm(systems, who, best.bytes).await?;
        }
        Ok(Some(best))
    }

    fn factor(&self, who: Who) -> f64 {
        self.factors.get(&who).copied().unwrap_or(1.0)
    }

    /// Fills the cache, then runs until the hit rate stays: what it is then.
    async fn warm(&self, systems: &Systems, who: Who, bytes: u64) -> Result<f64> {
        let room = bytes as f64 / self.factor(who) * SPARE;
        let mut ops: Vec<Op> = self.stack(who).top(room as u64).cloned().collect();
        // The peers' caches keep what came last. The follower's keeps what came first until something else is asked for twice.
        if who != Who::Tier {
            ops.reverse();
        }
        systems.fill(who, ops).await?;
        let mut before = 0.0;
        for window in 0..WINDOWS {
            let seed = self.seed.wrapping_add(100_000 + window as u64);
            let plan = Plan { warm: Duration::ZERO, time: self.window, seed };
            let reached = systems.run(who, CALLERS, plan).await?.hit_rate;
            if (reached - before).abs() <= STEADY {
                return Ok((reached + before) / 2.0);
            }
            before = reached;
        }
        Ok(before)
    }
}
