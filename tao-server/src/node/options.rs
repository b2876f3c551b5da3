//! Options of the services, from a node's configuration.

use std::time::Duration;

use tao_leader_follower::core::CoreOptions;
use tao_leader_follower::follower::FollowerOptions;
use tao_leader_follower::lanes::LaneOptions;
use tao_leader_follower::leader::{LeaderOptions, TailOptions};

use crate::config::NodeConfig;

/// The smallest ring: a few changes, so that a fill that comes a little late can still be brought up (R12).
const SMALLEST_RING: usize = 16 << 10;

/// Each shard has an equal part of the node's budget for rings.
fn core(config: &NodeConfig, shards: u32) -> CoreOptions {
    let part = config.cache.rings_bytes / u64::from(shards.max(1));
    let part = usize::try_from(part).unwrap_or(usize::MAX).max(SMALLEST_RING);
    CoreOptions {
        ring_changes: config.cache.ring_changes,
        ring_bytes: part.min(config.cache.ring_bytes),
        ..CoreOptions::default()
    }
}

pub(super) fn follower(config: &NodeConfig, shards: u32) -> FollowerOptions {
    FollowerOptions {
        core: core(config, shards),
        engine: config.cache.engine.into(),
        cache_bytes: config.cache.bytes,
        max_age: Duration::from_millis(config.cache.max_age_ms),
        drain: Duration::from_millis(config.drain_ms),
        ..FollowerOptions::default()
    }
}

/// A leader has the rings of all shards, and divides their budget itself.
pub(super) fn leader(config: &NodeConfig) -> LeaderOptions {
    LeaderOptions {
        core: CoreOptions {
            ring_changes: config.cache.ring_changes,
            ring_bytes: config.cache.ring_bytes,
            ..CoreOptions::default()
        },
        ring_bytes: usize::try_from(config.cache.rings_bytes).unwrap_or(usize::MAX),
        max_age: Duration::from_millis(config.cache.max_age_ms),
        tail: TailOptions {
            back: Duration::from_millis(config.tail.back_ms),
            beat_every: Duration::from_millis(config.tail.heartbeat_ms),
            audit_every: Duration::from_millis(config.tail.audit_ms),
            fallback_after: Duration::from_millis(config.tail.fallback_ms),
            ..TailOptions::default()
        },
        engine: config.cache.engine.into(),
        cache_bytes: config.cache.bytes,
        lanes: LaneOptions { lanes: config.storage.writer_lanes, ..LaneOptions::default() },
        grace: Duration::from_millis(config.drain_ms),
        ..LeaderOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_share_the_budget_of_the_node() {
        let mut config = NodeConfig::default();
        config.cache.rings_bytes = 64 << 20;
        config.cache.ring_bytes = 4 << 20;
        let bytes = |shards| core(&config, shards).ring_bytes;
        assert_eq!((bytes(1), bytes(64), bytes(65_536)), (4 << 20, 1 << 20, SMALLEST_RING));
    }
}
