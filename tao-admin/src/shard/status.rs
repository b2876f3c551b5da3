//! How a move is, for people and for programs.

use std::time::Duration;

use serde::Serialize;
use tao_schema::ids::{HostGroupId, ShardId};
use tao_shard_store::moves::{MoveEntry, MoveState};

use super::gate::Reading;
use super::terms::{Goal, Notes, Orders};

/// How a move is.
#[derive(Clone, Debug, Serialize)]
pub struct MoveStatus {
    /// The move.
    pub id: u64,
    /// Its shard.
    pub shard: ShardId,
    /// As its worker noted it last.
    pub state: &'static str,
    /// Whether it is over.
    pub over: bool,
    /// Who served in the beginning.
    pub home: HostGroupId,
    /// Where it goes away from.
    pub source: HostGroupId,
    /// Where it goes to.
    pub target: HostGroupId,
    /// Who serves, as far as the notes know.
    pub serving: HostGroupId,
    /// What was ordered.
    pub orders: Orders,
    /// Who works on it, if somebody does.
    pub worker: Option<String>,
    /// What it waits for.
    pub throttled: Option<Throttled>,
    /// The share of rows copied, from 0 to 1.
    pub copied: Option<f64>,
    /// Rows copied in a second, since the copy began.
    pub rows_per_second: Option<f64>,
    /// Seconds that the copy still takes, about.
    pub eta_s: Option<f64>,
    /// The largest lag of a replica of either host group, in ms; only while a worker looks.
    pub lag_ms: Option<u64>,
    /// The longer one of the two primaries' history lists; only while a worker looks.
    pub history_length: Option<u64>,
    /// The slowest leader's p99, in ms; only while a worker looks, and if a leader's admin address is known.
    pub leader_p99_ms: Option<f64>,
    /// How long ago the source's log told something of the shard, in ms; only while a worker looks.
    pub last_event_age_ms: Option<u64>,
    /// How long ago the two sides were found equal, in s.
    pub verified_age_s: Option<f64>,
    /// What the worker says.
    pub notes: Notes,
    /// Commands that make sense now.
    pub next_steps: Vec<String>,
}

/// What a copy waits for.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Throttled {
    /// Which input, and its limit.
    pub reason: String,
    /// For how long, in s.
    pub for_s: f64,
}

impl MoveStatus {
    /// Of an entry of the book. `now`: by its clock.
    pub(super) fn of(entry: &MoveEntry, orders: &Orders, notes: &Notes, now: u64) -> Self {
        let at = &entry.at;
        let state = at.state;
        let seconds = |since: u64| now.saturating_sub(since) as f64 / 1_000.0;
        let copied = (notes.rows_total > 0)
            .then(|| (notes.rows_copied as f64 / notes.rows_total as f64).min(1.0))
            .map(|share| if state > MoveState::Copying { 1.0 } else { share });
        let rate = (notes.copy_ms > 0).then(|| notes.rows_copied as f64 * 1_000.0 / notes.copy_ms as f64);
        let left = notes.rows_total.saturating_sub(notes.rows_copied) as f64;
        let eta_s = rate.filter(|rate| *rate > 0.0 && state == MoveState::Copying).map(|rate| left / rate);
        let served_by_target = matches!(state, MoveState::Reversible | MoveState::Finalized);
        let paused = orders.paused.then(|| Throttled {
            reason: "paused by an operator".to_owned(),
            for_s: seconds(entry.changed_at),
        });
        let throttled = notes.throttled.as_ref();
        let throttled =
            throttled.map(|(why, since)| Throttled { reason: why.clone(), for_s: seconds(*since) });
        let lease = entry.lease.as_ref().filter(|lease| lease.until >= now);
        Self {
            id: entry.id.0,
            shard: entry.shard,
            state: state.name(),
            over: !entry.open,
            home: entry.home,
            source: at.source,
            target: at.target,
            serving: if served_by_target { at.target } else { at.source },
            orders: orders.clone(),
            worker: lease.map(|lease| lease.worker.clone()),
            throttled: paused.or(throttled).filter(|_| entry.open),
            copied,
            rows_per_second: rate,
            eta_s,
            lag_ms: None,
            history_length: None,
            leader_p99_ms: None,
            last_event_age_ms: None,
            verified_age_s: notes.verified_at.map(seconds),
            notes: notes.clone(),
            next_steps: next_steps(entry, orders, notes, lease.is_some()),
        }
    }

    /// Whether the goal is reached, as far as the notes know.
    pub fn reached(&self) -> bool {
        let goal = self.orders.goal;
        let settled = self.state == MoveState::Reversible.name() && !self.orders.finalize;
        self.over
            || goal == Goal::Ready && self.state == MoveState::Ready.name()
            || goal == Goal::There && settled && self.serving != self.home
            || goal == Goal::Back && settled && self.serving == self.home
    }

    /// With what only a worker at work knows.
    pub(super) fn with(self, found: &Reading, event_age: Option<Duration>) -> Self {
        let ms = |time: Duration| time.as_millis() as u64;
        Self {
            lag_ms: found.lag().map(ms),
            history_length: found.longest_history(),
            leader_p99_ms: found.slowest().map(|time| time.p99.as_secs_f64() * 1_000.0),
            last_event_age_ms: event_age.map(ms),
            ..self
        }
    }
}

fn next_steps(entry: &MoveEntry, orders: &Orders, notes: &Notes, worked_on: bool) -> Vec<String> {
    let command = |verb: &str| format!("tao shard {verb} {}", entry.shard);
    if !entry.open {
        return Vec::new();
    }
    let mut steps = Vec::new();
    if orders.paused {
        steps.push(command("resume"));
    }
    match entry.at.state {
        MoveState::Planned
        | MoveState::Copying
        | MoveState::Replicating
        | MoveState::Verifying
        | MoveState::Cutover => {
            if !worked_on && !orders.paused {
                steps.push(command("resume"));
            }
            if entry.at.source == entry.home {
                steps.push(command("abort"));
            }
        }
        MoveState::Ready => {
            if orders.goal == Goal::Ready || !worked_on {
                steps.push(command("cutover"));
            }
            steps.push(command("verify"));
            if entry.at.source == entry.home {
                steps.push(command("abort"));
            }
        }
        MoveState::Reversible => {
            if !worked_on {
                steps.push(format!("{} --stay", command("resume")));
            }
            let force = if notes.reverse_broken.is_some() { " --force" } else { "" };
            steps.push(command("reverse"));
            steps.push(format!("{}{force}", command("finalize")));
        }
        MoveState::Finalized | MoveState::Aborted => {
            if !worked_on {
                steps.push(command("resume"));
            }
        }
    }
    steps
}
