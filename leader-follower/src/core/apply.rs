//! Changes, from the log and from the answers of writes (R13, R18a).

use std::sync::Arc;

use tao_schema::ids::Seq;
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::{ChangeItem, ShardChange};

use super::epochs::Lineage;
use super::list::apply_list;
use super::ring::key_of;
use super::rules::{Rule, Rules};
use super::shard::ShardCore;
use super::{Body, Entries, Key};

/// What became of the change that an answer brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answered {
    /// Applied, or known already.
    Applied,
    /// Of an epoch that has ended: no news here.
    OlderEpoch,
    /// Of an epoch that this core has not heard of: its keys are in memory again when the epoch is known. The stream
    /// will tell of it, if this node's topology is not behind.
    NewerEpoch,
}

impl ShardCore {
    /// Takes in the change that came with the answer of a write, before the stream brings it (R18a). Must be the whole
    /// change of its seq: half of it would pass for all. Ahead of the watermark, every key it names gets a floor: what
    /// the writer was told must not be taken back by a slower fill.
    pub fn on_answer(&mut self, change: &ShardChange, entries: &dyn Entries) -> Answered {
        self.meet(change.epoch);
        match self.lineage(change.epoch, change.seq) {
            Lineage::Same => {}
            Lineage::Older => return Answered::OlderEpoch,
            Lineage::Newer => {
                for item in &change.items {
                    self.promise(key_of(item), change.position(), entries);
                }
                return Answered::NewerEpoch;
            }
        }
        for item in &change.items {
            let key = key_of(item);
            if self.own_entry(&key, entries).is_some() {
                self.apply(item, change.seq, entries);
            }
            if change.seq > self.watermark && self.rules.hold(Rule::AnswerFloor) {
                // Drops a list that the change did not fit, and an entry that was evicted and came back older.
                self.raise_floor(key, change.seq, entries);
            }
            if let ChangeItem::Object { row, .. } = item
                && self.own_entry(&key, entries).is_none()
                && !self.is_unheard(&key)
            {
                let body = Body::Object(row.clone());
                if self.rules.hold(Rule::AnswerIsFill) {
                    self.store(key, change.seq, body, entries);
                } else {
                    self.put(key, change.seq, body, entries);
                }
            }
        }
        Answered::Applied
    }

    /// Applies the next change of the log: all its items, then the watermark (R11).
    pub(super) fn advance(&mut self, change: Arc<ShardChange>, entries: &dyn Entries) {
        if !planted(Bug::DropChange) || !change.seq.0.is_multiple_of(8) {
            change.items.iter().for_each(|item| self.apply(item, change.seq, entries));
        }
        self.watermark = change.seq;
        self.floors.pass(change.seq);
        self.ring.push(change);
    }

    /// Brings the cached entry of an item forward, if there is one and the change is news to it (R13).
    fn apply(&mut self, item: &ChangeItem, seq: Seq, entries: &dyn Entries) {
        let key = key_of(item);
        let Some(entry) = self.own_entry(&key, entries) else { return };
        let right_at = entry.as_of().max(self.watermark);
        if !is_news(entry.version(), right_at, seq, self.rules) {
            return;
        }
        match changed(&entry.body(), item, seq, self.rules) {
            Some(body) => {
                self.put(key, seq, body, entries);
            }
            None => entries.remove(&key),
        }
    }

    /// The content at the watermark of a `body` that was right at `as_of`, by the ring's changes since; `None` if one
    /// of them does not fit. The caller has checked that the ring reaches down to `as_of`.
    pub(super) fn rolled_forward(&self, key: &Key, as_of: Seq, body: &Body) -> Option<Body> {
        let mut body = body.clone();
        if self.ring.last_change(key).is_none_or(|last| last <= as_of) {
            return Some(body);
        }
        let mut right_at = as_of;
        for change in self.ring.after(as_of) {
            for item in change.items.iter().filter(|item| key_of(item) == *key) {
                if change.seq > right_at {
                    body = changed(&body, item, change.seq, self.rules)?;
                    right_at = change.seq;
                }
            }
        }
        Some(body)
    }
}

/// R13: a change is news only above the entry's version and everything that the entry is known to be right at.
/// Absence has no version: it counts by `as_of` alone (H13).
fn is_news(version: Seq, right_at: Seq, seq: Seq, rules: Rules) -> bool {
    if !rules.hold(Rule::OldChanges) {
        return true;
    }
    seq > version && (seq > right_at || !rules.hold(Rule::AbsenceCounts))
}

/// The content after the change; `None` if the change does not fit it.
fn changed(body: &Body, item: &ChangeItem, seq: Seq, rules: Rules) -> Option<Body> {
    match (body, item) {
        (Body::Object(_), ChangeItem::Object { row, .. }) => Some(Body::Object(row.clone())),
        (Body::List(list), ChangeItem::List(change)) => {
            if !rules.hold(Rule::WholeChange) {
                let mut half = change.clone();
                half.edges.truncate(1);
                return apply_list(list, &half, seq, rules).map(Body::List);
            }
            apply_list(list, change, seq, rules).map(Body::List)
        }
        // The key says which of the two it is; a mix can't be made right, only dropped.
        (Body::Object(_), ChangeItem::List(_)) | (Body::List(_), ChangeItem::Object { .. }) => None,
    }
}
