//! Nonces on their way: written on the primary, awaited in the log (R8, R20).

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tao_shard_store::log::{Beat, BeatWriter};
use tao_shard_store::store::ShardRow;
use tokio::sync::Notify;

/// Nonces that are awaited at most: those of some seconds. An older one proves less than they do.
const AWAITED: usize = 64;
/// Rows for heartbeats that only have to be later than others. One may be locked by a commit that waits itself.
const SPARES: u64 = 4;
/// Bits of a nonce that count; the ones above name this run of the node.
const COUNTED: u64 = u32::MAX as u64;

/// The nonces of one host group.
pub(in crate::leader) struct Beats {
    writer: BeatWriter,
    spares: [BeatWriter; SPARES as usize],
    run: u64,
    state: Mutex<State>,
    /// Write one now.
    wanted: Notify,
}

#[derive(Default)]
struct State {
    next: u64,
    /// Spare heartbeats so far.
    spared: u64,
    awaited: VecDeque<Sent>,
    /// The last attempt, if it failed.
    failed: Option<(u64, String)>,
    /// The last that the log brought.
    seen: Option<u64>,
    /// Rows to be compared when the next nonce is through.
    audit: Option<Vec<ShardRow>>,
}

/// A nonce that this node had written.
pub(super) struct Sent {
    nonce: u64,
    /// This machine's clock before it was sent.
    pub(super) at: Duration,
    /// Shard rows that were read before it: everything up to them comes before it.
    pub(super) audit: Option<Vec<ShardRow>>,
}

impl Beats {
    pub(in crate::leader) fn new(node: &str) -> Self {
        Self {
            writer: BeatWriter::of(node),
            spares: std::array::from_fn(|spare| BeatWriter::of(&format!("{node}/{spare}"))),
            run: rand::random::<u64>() & !COUNTED,
            state: Mutex::default(),
            wanted: Notify::new(),
        }
    }

    pub(super) const fn writer(&self) -> BeatWriter {
        self.writer
    }

    /// The next nonce, noted with the time of the call.
    pub(super) fn send(&self, now: Duration) -> Beat {
        let mut state = self.state.lock();
        let nonce = self.run | (state.next & COUNTED);
        state.next += 1;
        let audit = state.audit.take();
        if state.awaited.len() >= AWAITED {
            state.awaited.pop_front();
        }
        state.awaited.push_back(Sent { nonce, at: now, audit });
        Beat { writer: self.writer, nonce }
    }

    /// A heartbeat that nobody waits for, in the next of the spare rows.
    pub(super) fn spare(&self) -> Beat {
        let mut state = self.state.lock();
        let number = state.spared;
        state.spared += 1;
        Beat { writer: self.spares[(number % SPARES) as usize], nonce: self.run | (number & COUNTED) }
    }

    /// How the attempt ended. After a failure the nonce may come all the same.
    pub(super) fn sent(&self, beat: Beat, failed: Option<String>) {
        let mut state = self.state.lock();
        state.failed = failed.map(|why| (beat.nonce, why));
    }

    /// Why the last attempt failed, if it did and was not before `since`.
    pub(super) fn failure(&self, since: u64) -> Option<String> {
        let state = self.state.lock();
        state.failed.as_ref().filter(|(nonce, _)| *nonce >= since).map(|(_, why)| why.clone())
    }

    /// The log has brought a nonce of this writer, perhaps of an earlier run.
    pub(super) fn saw(&self, nonce: u64) {
        if self.is_own(nonce) {
            let mut state = self.state.lock();
            state.seen = state.seen.max(Some(nonce));
        }
    }

    /// Takes a nonce that came through, and gives up those before it: it proves more. Their audits count by it, too.
    pub(super) fn through(&self, nonce: u64) -> Option<Sent> {
        let mut state = self.state.lock();
        let place = state.awaited.iter().position(|sent| sent.nonce == nonce)?;
        let mut passed: Vec<Sent> = state.awaited.drain(..=place).collect();
        let mut sent = passed.pop()?;
        if sent.audit.is_none() {
            sent.audit = passed.into_iter().rev().find_map(|before| before.audit);
        }
        Some(sent)
    }

    /// The nonce that comes next: whatever bears it, or a later one of this run, was written after this call.
    pub(super) fn upcoming(&self) -> u64 {
        self.run | (self.state.lock().next & COUNTED)
    }

    /// Whether `nonce` is of this run, and not before `since`.
    pub(super) fn is_since(&self, nonce: u64, since: u64) -> bool {
        self.is_own(nonce) && nonce >= since
    }

    /// Whether the log has brought a nonce that is not before `since`.
    pub(super) fn seen_since(&self, since: u64) -> bool {
        self.state.lock().seen.is_some_and(|seen| seen >= since)
    }

    /// Rows to compare once a nonce written from now on is through.
    pub(super) fn audit(&self, rows: Vec<ShardRow>) {
        self.state.lock().audit = Some(rows);
        self.kick();
    }

    /// Have a nonce written now.
    pub(super) fn kick(&self) {
        self.wanted.notify_one();
    }

    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    const fn is_own(&self, nonce: u64) -> bool {
        nonce & !COUNTED == self.run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_stands_for_those_before_it_and_other_runs_are_strangers() {
        let beats = Beats::new("leader-1");
        let before = beats.upcoming();
        let row = ShardRow {
            shard: tao_schema::ids::ShardId(3),
            epoch: tao_schema::ids::Epoch(1),
            seq: tao_schema::ids::Seq(9),
            state: tao_schema::rows::ShardState::Serving,
        };
        beats.audit(vec![row]);
        let first = beats.send(Duration::from_secs(1));
        let second = beats.send(Duration::from_secs(2));
        beats.sent(first, Some("gone".to_owned()));
        assert!(beats.failure(before).is_some() && beats.failure(second.nonce).is_none());
        beats.saw(second.nonce);
        let through = beats.through(second.nonce).unwrap();
        assert_eq!((through.at, through.audit), (Duration::from_secs(2), Some(vec![row])));
        assert!(beats.through(first.nonce).is_none(), "given up");
        let foreign = first.nonce ^ (1 << 40);
        beats.saw(foreign);
        assert!(!beats.is_since(foreign, before) && beats.through(foreign).is_none());
        assert!(beats.seen_since(second.nonce));
    }
}
