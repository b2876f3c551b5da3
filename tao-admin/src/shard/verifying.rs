//! VERIFYING: both sides compared row by row while they are written, each chunk as of one position of the source.

use std::time::{Duration, Instant};

use tao_shard_store::moves::{Comparison, Copied, Difference, PageLimit, RawPage, ShardMover, compare};
use tao_shard_store::mysql::MySqlStore;

use super::copying::PATIENCE;
use super::error::{Done, Halt};
use super::step::Step;
use super::stream::Stream;
use super::worker::{Next, Worker};

/// Rows that are compared at once.
const ROWS: usize = 2_000;
/// Bytes of them, about.
const BYTES: usize = 4 << 20;
/// Differences that are named.
const NAMED: usize = 10;
/// A chunk with differences is read again so often: a page may show a purge later than the log told of it.
const LOOKS: usize = 3;
/// Until the log must have brought what a page has shown.
const DRAIN: Duration = Duration::from_secs(30);

impl Worker<'_> {
    /// Compares all tables of the stream's two sides, and notes what was found. `Again`: orders changed.
    ///
    /// # Errors
    /// Rows differ.
    pub(super) async fn verify(&mut self, stream: &mut Stream) -> Done<Next> {
        self.notes.rows_compared = 0;
        self.notes.rows_different = 0;
        self.notes.differences.clear();
        self.notes.verified_at = None;
        let mut from = Copied::NOTHING;
        while from != Copied::ALL {
            if self.interrupted() {
                return Ok(Next::Again);
            }
            self.at(Step::Chunk).await?;
            let (page, mut comparison) = self.compare_from(stream, from).await?;
            for _ in 1..LOOKS {
                if comparison.differences.is_empty() {
                    break;
                }
                let (again, second) = self.compare_from(stream, from).await?;
                if again.to == page.to {
                    comparison = second;
                }
            }
            self.notes.rows_compared += comparison.rows;
            self.notes.rows_different += comparison.differences.len() as u64;
            let room = NAMED.saturating_sub(self.notes.differences.len());
            self.notes.differences.extend(comparison.differences.iter().take(room).map(named));
            from = page.to;
            self.tell(Some(stream));
        }
        stream.hold(None);
        if self.notes.rows_different > 0 {
            return Err(self.different().into());
        }
        self.notes.verified_at = Some(self.now().max(1));
        Ok(Next::Finished)
    }

    /// One chunk: read at the source, the target brought to exactly that position, then read there.
    async fn compare_from(&mut self, stream: &mut Stream, from: Copied) -> Done<(RawPage, Comparison)> {
        let (source, target): (MySqlStore, MySqlStore) = stream.sides();
        let page = loop {
            let limit = PageLimit { rows: ROWS, bytes: BYTES };
            let page = source.raw_page(self.shard, from, limit).await?;
            let (at, applied) = (page.at(), stream.progress().applied);
            if (at.epoch, at.seq) >= (applied.epoch, applied.seq) {
                break page;
            }
            // The log tells before it shows.
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let at = page.at();
        stream.hold(Some(at));
        let start = Instant::now();
        while !stream.drained(at) {
            self.step(stream, PATIENCE).await?;
            if start.elapsed() > DRAIN {
                return Err(Halt::Passing(format!("the log did not bring what a page showed, {at:?}")));
            }
        }
        let limit = PageLimit { rows: page.rows.len() + 1, bytes: usize::MAX };
        let there = target.raw_page(self.shard, from, limit).await?;
        stream.hold(None);
        let comparison = compare(&page, &there);
        Ok((page, comparison))
    }
}

fn named(difference: &Difference) -> String {
    let (what, key) = match difference {
        Difference::Missing(key) => ("missing", key),
        Difference::Surplus(key) => ("only there", key),
        Difference::Other(key) => ("other", key),
    };
    let [a, b, c] = key.parts;
    format!("{what} {:?} ({a}, {b}, {c})", key.table)
}
