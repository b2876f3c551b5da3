//! Calls that come while their shard changes hands: they wait, and go to wherever it then is (R25).
//!
//! Writers find the source fenced from the fence to the commit; from then on the topology is behind the rows, until the move
//! is released; then the logs meet. All of that takes some round trips, so a call waits for it here, where the news come
//! in, instead of being sent back to ask again. How many wait has a bound, how long they wait is up to their deadlines.

use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tao_schema::ids::ShardId;
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::ShardState;
use tao_schema::{Error, ErrorCode, Result};
use tokio::time::{Instant, timeout};

use super::Inner;
use super::routes::Place;
use super::slot::Slot;

/// Between two looks at the topology, which nobody announces changes of.
const LOOK: Duration = Duration::from_millis(5);
/// The answer that it took too long must still reach the caller: it is given this much before the deadline, or an eighth
/// of what is left.
const MARGIN: Duration = Duration::from_millis(50);

/// What a call needs of its shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Needs {
    /// Rows and cache of one host group.
    Rows,
    /// A serving shard row in the topology's epoch.
    Serving,
}

impl Inner {
    /// The shard's place, once nobody is taking it elsewhere. A region that does not order the shard's writes does not
    /// wait: it asks the one that does.
    ///
    /// # Errors
    /// As [`super::routes::Routes::place`]; `NotOwner` if it took too long, `Overloaded` if too many wait; nothing was
    /// done.
    pub(super) async fn settled(&self, slot: &Slot, needs: Needs, deadline: Instant) -> Result<Place<'_>> {
        let place = self.routes.place(slot.shard)?;
        if !moves(slot, &place, needs) {
            return Ok(place);
        }
        let _held = self.holds.try_acquire().map_err(|_| self.too_many(slot.shard))?;
        let began = Instant::now();
        let left = deadline.saturating_duration_since(began);
        let ends = began + left - MARGIN.min(left / 8);
        let _counted = Counted::new(&self.metrics.holding);
        let place = loop {
            // Before the look: what changes after it is not missed.
            let told = slot.handover.told();
            match self.routes.place(slot.shard) {
                Ok(place) if moves(slot, &place, needs) && Instant::now() < ends => {
                    // Over is as good as told.
                    let _ = timeout(LOOK, told).await;
                }
                place => break place,
            }
        };
        self.metrics.hold_seconds.observe(began.elapsed().as_secs_f64());
        let place = place?;
        if moves(slot, &place, needs) {
            return Err(self.still_moving(slot, &place));
        }
        Ok(place)
    }

    fn still_moving(&self, slot: &Slot, place: &Place<'_>) -> Error {
        let Slot { shard, .. } = *slot;
        let message = format!(
            "shard {shard} changes hands: it is {:?} at {}, and the topology has it in host group {}, epoch {}; nothing was \
             done, try again",
            slot.state(),
            slot.core.position(),
            place.group.id,
            place.epoch
        );
        Error::new(ErrorCode::NotOwner, message)
    }

    fn too_many(&self, shard: ShardId) -> Error {
        let message = format!(
            "{} calls wait for shards that change hands, as shard {shard} does, that is the limit: try again later",
            self.options.holds
        );
        Error::new(ErrorCode::Overloaded, message)
    }
}

/// Counted as long as it lives: a call may be dropped while it waits.
struct Counted<'a>(&'a Gauge);

impl<'a> Counted<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Whether what the call needs is on its way to another place. Not before the shard's log was followed for the first time:
/// then nobody knows.
fn moves(slot: &Slot, place: &Place<'_>, needs: Needs) -> bool {
    if !place.master || planted(Bug::NoHold) {
        return false;
    }
    match slot.handover.feed() {
        Some(feed) if feed != place.group.id => true,
        None => false,
        Some(_) => {
            needs == Needs::Serving
                && slot.is_open()
                && (slot.state() == ShardState::Fenced || slot.core.position().epoch > place.epoch)
        }
    }
}
