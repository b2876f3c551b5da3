//! The leader's side of its server's log: what nobody has seen committed is held (R7), and a start replays (R17).

use std::sync::Arc;

use tao_schema::ids::{Position, Seq};
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::ShardChange;

use super::Entries;
use super::epochs::Lineage;
use super::leader::{Backwards, Published};
use super::rules::Rule;
use super::shard::{ShardCore, Trust};

impl ShardCore {
    /// A change that the log brought. `visible`: it is known to be committed, as everything in the log of a replica is;
    /// a primary writes its log before it commits, and may wait for replicas in between (H8).
    ///
    /// What is not known to be committed is held until [`Self::on_commit`] brings it, [`Self::on_visible`] says that the
    /// shard row shows it, or the log brings what follows it: that transaction had the row's lock after it. So one
    /// change at most is held; one of the same seq in its place means that the one before was never committed (H10).
    pub fn on_tailed(&mut self, change: Arc<ShardChange>, visible: bool, entries: &dyn Entries) -> Published {
        match self.lineage(change.epoch, change.seq) {
            Lineage::Same => {}
            // A survivor of a lost epoch speaks (H22).
            Lineage::Older => return Published::default(),
            // The log tells of an epoch before its first change; this one did not.
            Lineage::Newer => return Published { changes: Vec::new(), gap: true },
        }
        // A log that comes again to what is held: the one held comes again, too, or was never committed.
        self.held.take_if(|held| held.seq >= change.seq && !planted(Bug::ReusedSeqSkipped));
        let proved = if visible { change.seq } else { Seq(change.seq.0.saturating_sub(1)) };
        self.visible = self.visible.max(proved);
        let mut published = self.publish_held(entries);
        if change.seq <= self.visible || !self.rules.hold(Rule::VisibleOnly) {
            published.append(self.publish(change, entries));
        } else {
            self.held = Some(change);
        }
        published
    }

    /// The shard row was read at `row`, on the server whose log is followed: everything up to there is committed.
    pub fn on_visible(&mut self, row: Position, entries: &dyn Entries) -> Published {
        match self.lineage(row.epoch, row.seq) {
            Lineage::Same => self.visible_to(row.seq, entries),
            // Of an epoch that the log will tell of; that releases what is held.
            Lineage::Newer | Lineage::Older => Published::default(),
        }
    }

    /// The log is followed on another server from now on, or anew: what is held may never have been committed, whatever
    /// row or commit has its seq from here on (H10). It is dropped. The log must come to it again, if it was committed:
    /// follow it from before what is held.
    pub fn on_log_lost(&mut self) {
        self.held = None;
    }

    /// The change that is held, if there is one.
    pub fn held(&self) -> Option<Position> {
        self.held.as_ref().map(|change| change.position())
    }

    /// Becomes the shard's leader behind its row: the changes after `from` come from the log once more, so that the ring
    /// is full before anybody asks (R17). Nothing is served until [`Self::opened_at`]. Learn the history first.
    ///
    /// A core that has a state already goes on from it, if the replay reaches back to it. After a log that could not be
    /// understood that state is not to be believed: [`Self::forget`] it first (R9).
    ///
    /// # Errors
    /// [`Backwards`] if `from` is of an epoch that had ended before it.
    pub fn open_replaying(&mut self, from: Position) -> Result<(), Backwards> {
        let same = self.lineage(from.epoch, from.seq) == Lineage::Same;
        if !(self.resumable && same && from.seq <= self.watermark) {
            self.restart(from).map_err(|known| Backwards { known, asked: from })?;
        }
        self.trust = Trust::Replaying;
        Ok(())
    }

    /// The replay has come to everything that `row` shows, the shard row as it was read before the replay began. Answers
    /// whether this core stands there now, without a gap; or, had nothing to be replayed, stood there before. If not,
    /// the cache starts anew at the row.
    ///
    /// # Errors
    /// [`Backwards`] if the row says less than this node has seen in the same lineage: the database lost something.
    pub fn opened_at(&mut self, row: Position, entries: &dyn Entries) -> Result<bool, Backwards> {
        self.on_visible(row, entries);
        let there = match self.trust {
            // Beyond it are own commits of the meantime.
            Trust::Replaying => self.watermark >= row.seq || !self.rules.hold(Rule::ReplayReaches),
            _ => self.resumable && self.watermark == row.seq,
        };
        if there && self.lineage(row.epoch, row.seq) == Lineage::Same {
            self.trust = Trust::Continuous;
            return Ok(true);
        }
        self.reset(row, entries).map(|_| false)
    }

    /// Everything up to `seq` of our lineage is committed.
    pub(super) fn visible_to(&mut self, seq: Seq, entries: &dyn Entries) -> Published {
        self.visible = self.visible.max(seq);
        self.publish_held(entries)
    }

    /// Publishes what was held, if it is known to be committed now.
    pub(super) fn publish_held(&mut self, entries: &dyn Entries) -> Published {
        let visible = self.visible;
        match self.held.take_if(|held| held.seq <= visible) {
            Some(change) => self.publish(change, entries),
            None => Published::default(),
        }
    }
}
