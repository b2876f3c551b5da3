//! What a read demands, against what this leader knows and how old that is (R19-R21).

use std::sync::Arc;
use std::time::Duration;

use tao_schema::ids::{Position, ShardId};
use tao_schema::ops::{Demand, Freshness};
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::ShardState;
use tao_schema::{Error, ErrorCode, Result};

use super::Inner;
use super::routes::Place;
use super::slot::Slot;
use crate::core::{LineageProblem, MissReason};

/// Where an answer may come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Allowed {
    /// Memory, and rows of this region's server that are not behind it.
    Memory(String),
    /// Rows that are read on the primary from now on. `strict`: the shard row must be serving, in the present epoch.
    Primary {
        /// Whether the reader was promised the present.
        strict: bool,
        /// Why.
        rule: String,
    },
    /// Memory, if the shard row, read from now on, proves it current; else as `Primary`, strictly.
    Proved,
    /// The leader of the master region; with the reason.
    Up(&'static str),
}

impl Inner {
    /// The shard's slot, open or not.
    pub(super) fn slot(&self, shard: ShardId) -> Result<Arc<Slot>> {
        self.shards.slot(shard).cloned().ok_or_else(|| {
            Error::new(ErrorCode::NoSuchShard, format!("there is no shard {shard} in this cluster"))
        })
    }

    /// Checked after the request arrived: what was known before may have become too old on the way (R20).
    pub(super) fn allowed(&self, place: &Place<'_>, slot: &Slot, demand: &Demand) -> Result<Allowed> {
        if let Some(reason) = self.lineage_problem(place, slot, &demand.lineage)? {
            return Ok(Allowed::Up(reason));
        }
        let limit = match demand.freshness {
            Freshness::Critical if place.master => return Ok(Allowed::Proved),
            Freshness::Critical => return Ok(Allowed::Up("critical")),
            Freshness::Master if !place.master => return Ok(Allowed::Up("master")),
            Freshness::Master | Freshness::Any => self.options.max_age,
            Freshness::Within(limit) => limit,
        };
        let age = self.age(place, slot);
        if age.is_none_or(|age| age > limit) {
            let reason = if age.is_none() { "no age" } else { "too old" };
            let strict = matches!(demand.freshness, Freshness::Within(_));
            return Ok(beyond(place, strict, reason, age, limit));
        }
        if let Some(time) = demand.not_before
            && !place.group.health.reaches(time)
        {
            return Ok(beyond(place, true, "time floor", age, limit));
        }
        let name = if matches!(demand.freshness, Freshness::Within(_)) { "Bounded" } else { "Local" };
        Ok(Allowed::Memory(format!("R21 {name}: age {}, limit {limit:?}", shown(age))))
    }

    /// How old this leader's knowledge of a shard is; `None`: nobody can tell. A fence in its log ends it: what is
    /// committed after that is in another log (R20, H23). A group's heartbeats say nothing about a shard that another
    /// group's log feeds still (R25).
    pub(super) fn age(&self, place: &Place<'_>, slot: &Slot) -> Option<Duration> {
        let serving = slot.state() == ShardState::Serving || planted(Bug::AgeAcrossFence);
        let fed = slot.handover.is_fed_by(place.group.id) || planted(Bug::AgeOfAnotherFeed);
        if serving && fed { place.group.health.age() } else { None }
    }

    /// Whether memory may answer those who demand nothing.
    pub(super) fn is_fresh(&self, place: &Place<'_>, slot: &Slot) -> bool {
        self.age(place, slot).is_some_and(|age| age <= self.options.max_age)
    }

    /// `Some`: why to ask further up whether positions are of one history.
    fn lineage_problem(
        &self,
        place: &Place<'_>,
        slot: &Slot,
        positions: &[Position],
    ) -> Result<Option<&'static str>> {
        match slot.core.check_lineage(positions) {
            Ok(()) => Ok(None),
            Err(LineageProblem::Lost { end: None, .. }) if !place.master => Ok(Some("history")),
            Err(LineageProblem::Lost { end: None, position }) if !knows_history(slot) => {
                Err(no_history(position))
            }
            Err(problem @ LineageProblem::Lost { .. }) => {
                Err(Error::new(ErrorCode::LostEpoch, format!("{problem}: read without it, then decide")))
            }
            Err(LineageProblem::Newer { .. }) if !place.master => {
                self.routes.stale_topology.notify_one();
                Ok(Some("newer epoch"))
            }
            Err(problem @ LineageProblem::Newer { .. }) => {
                self.routes.stale_topology.notify_one();
                Err(Error::new(ErrorCode::NotOwner, format!("{problem}: try again")))
            }
        }
    }

    /// Whether the holder of a token that memory did not satisfy may be answered from rows (R19). `NotOwner`: not here,
    /// perhaps further up.
    pub(super) fn check_token(
        &self,
        slot: &Slot,
        place: &Place<'_>,
        reason: MissReason,
        token: Option<Position>,
    ) -> Result<()> {
        let Some(token) = token else { return Ok(()) };
        self.metrics.token_missed(reason.name());
        match reason {
            MissReason::OtherEpoch { ours } => {
                self.routes.stale_topology.notify_one();
                let message = format!(
                    "the token {token} is of a newer epoch than this leader knows, {ours}: try again"
                );
                Err(Error::new(ErrorCode::NotOwner, message))
            }
            MissReason::Lost { end: None, ours } if !place.master => {
                let message =
                    format!("the history known here, of epoch {ours}, does not reach back to {token}");
                Err(Error::new(ErrorCode::NotOwner, message))
            }
            MissReason::Lost { end: None, .. } if !knows_history(slot) => Err(no_history(token)),
            MissReason::Lost { end, .. } => {
                let ended = end.map_or_else(|| "long ago".to_owned(), |end| format!("at {end}"));
                let message = format!(
                    "the epoch of token {token} ended {ended}: what it stands for is lost; read without it, then decide"
                );
                Err(Error::new(ErrorCode::LostEpoch, message))
            }
            MissReason::Absent | MissReason::Stale { .. } | MissReason::NoStream => Ok(()),
        }
    }
}

fn knows_history(slot: &Slot) -> bool {
    slot.core.with(|core| core.knows_history())
}

/// A core that met its epoch in an answer, before its log was opened, proves no loss (R19).
fn no_history(position: Position) -> Error {
    Error::new(ErrorCode::NotOwner, format!("the history of {position} is not known here yet: try again"))
}

fn beyond(
    place: &Place<'_>,
    strict: bool,
    reason: &'static str,
    age: Option<Duration>,
    limit: Duration,
) -> Allowed {
    if place.master {
        let rule =
            format!("R21: read on the primary after arrival ({reason}: age {}, limit {limit:?})", shown(age));
        Allowed::Primary { strict, rule }
    } else {
        Allowed::Up(reason)
    }
}

fn shown(age: Option<Duration>) -> String {
    age.map_or_else(|| "unknown".to_owned(), |age| format!("{age:.1?}"))
}
