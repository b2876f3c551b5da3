//! What is made of the rows of a transaction: news for caches ([`super::transaction`]), or rows as they are
//! ([`super::raw`]).

use super::Bad;
use super::table::{Image, Kind};
use super::transaction::key;
use crate::log::LogPosition;

/// The rows of one transaction, taken one by one.
pub(in crate::mysql) trait Harvest: Default + Send + Sync {
    /// What the tail gives out.
    type Item: Send + Sync;
    /// What is kept from one transaction to the next.
    type Known: Clone + Send + Sync;
    /// Whether rows that are no news to caches are taken, too: of outbox, tombstone and request.
    const ALL_TABLES: bool;

    /// Takes a row of a table of ours: its state before, and after. One that changes its key leaves one place and comes to
    /// another.
    fn row(
        &mut self,
        known: &Self::Known,
        kind: Kind,
        before: Option<&Image>,
        after: Option<&Image>,
    ) -> Result<(), Bad> {
        match (before, after) {
            (Some(old), Some(new)) if key(kind, old) != key(kind, new) => {
                self.take(known, kind, before, None)?;
                self.take(known, kind, None, after)
            }
            _ => self.take(known, kind, before, after),
        }
    }

    /// Takes the states of one place, before and after.
    fn take(
        &mut self,
        known: &Self::Known,
        kind: Kind,
        before: Option<&Image>,
        after: Option<&Image>,
    ) -> Result<(), Bad>;

    /// The transaction is whole: appends what it tells. `position`: the log up to and with it.
    fn finish(
        self,
        known: &mut Self::Known,
        position: &dyn Fn() -> LogPosition,
        out: &mut Vec<Self::Item>,
    ) -> Result<(), Bad>;
}
