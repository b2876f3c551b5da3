//! The statements that repeat a part, made once.

use mysql_async::Params;
use tao_schema::ids::ShardId;

use super::statements::{
    ADVANCE_SHARDS, CREATE_HISTORY, CREATE_SHARDS, LOCK_SHARDS_SKIP, MOVE_PUT_HISTORY, MOVE_PUT_REQUESTS,
    PUT_COUNTS, PUT_EDGES, PUT_OBJECTS, PUT_OUTBOX, PUT_REQUESTS, PUT_TOMBSTONES, SHARDS_AND_CLOCK, STEPS,
    Sized,
};

/// Texts of the statements that repeat a part.
pub(super) struct Templates {
    pub(super) lock_skip: Sized,
    pub(super) shards_and_clock: Sized,
    pub(super) create_shards: Sized,
    pub(super) create_history: Sized,
    pub(super) advance: Sized,
    pub(super) objects: Sized,
    pub(super) edges: Sized,
    pub(super) counts: Sized,
    pub(super) tombstones: Sized,
    pub(super) outbox: Sized,
    pub(super) requests: Sized,
    pub(super) moved_requests: Sized,
    pub(super) moved_history: Sized,
}

impl Templates {
    pub(super) fn new() -> Self {
        Self {
            lock_skip: Sized::new(&LOCK_SHARDS_SKIP),
            shards_and_clock: Sized::new(&SHARDS_AND_CLOCK),
            create_shards: Sized::new(&CREATE_SHARDS),
            create_history: Sized::new(&CREATE_HISTORY),
            advance: Sized::new(&ADVANCE_SHARDS),
            objects: Sized::new(&PUT_OBJECTS),
            edges: Sized::new(&PUT_EDGES),
            counts: Sized::new(&PUT_COUNTS),
            tombstones: Sized::new(&PUT_TOMBSTONES),
            outbox: Sized::new(&PUT_OUTBOX),
            requests: Sized::new(&PUT_REQUESTS),
            moved_requests: Sized::new(&MOVE_PUT_REQUESTS),
            moved_history: Sized::new(&MOVE_PUT_HISTORY),
        }
    }
}

impl Sized {
    /// The text and parameters for a list of shards, of which there are at most as many as the largest step; the last
    /// is repeated to fill a step.
    pub(super) fn of_shards(&self, shards: &[ShardId]) -> (&str, Params) {
        let step = STEPS.iter().copied().find(|step| *step >= shards.len()).unwrap_or(STEPS[STEPS.len() - 1]);
        let last = shards.last().copied().unwrap_or_default();
        let padded = shards.iter().copied().chain(std::iter::repeat(last)).take(step);
        (self.text(step), Params::Positional(padded.map(|shard| shard.0.into()).collect()))
    }
}
