// tidy: names SQL because an error tells an administrator what to set
//! Events with rows: WRITE, UPDATE and DELETE, of both versions.

use super::Bad;
use super::table::{Image, Kind};
use super::wire::Wire;
use tao_schema::planted::{Bug, planted};

/// What an event does to its rows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Insert,
    Update,
    Delete,
}

/// The head of a rows event.
pub(super) struct RowsEvent<'a> {
    action: Action,
    /// The table's number, as its TABLE_MAP event gave it.
    pub(super) table: u64,
    wire: Wire<'a>,
}

/// The table number of an event that only says that a statement has ended.
pub(super) const NO_TABLE: u64 = 0x00ff_ffff;

impl<'a> RowsEvent<'a> {
    /// Reads the head of an event of a type that has rows.
    pub(super) fn read(event_type: u8, event: &'a [u8]) -> Result<Self, Bad> {
        let (action, second_version) = match event_type {
            23 | 30 => (Action::Insert, event_type == 30),
            24 | 31 => (Action::Update, event_type == 31),
            25 | 32 => (Action::Delete, event_type == 32),
            other => return Err(Bad(format!("rows in an event of type {other}"))),
        };
        let mut wire = Wire(event);
        let table = wire.uint(6)?;
        wire.bytes(2)?;
        if second_version {
            // The length counts itself.
            let extra = wire.length(2)?;
            wire.bytes(extra.saturating_sub(2))?;
        }
        Ok(Self { action, table, wire })
    }

    /// Gives each row to `take`: its state before, and after.
    pub(super) fn rows(
        self,
        kind: Kind,
        mut take: impl FnMut(Option<&Image>, Option<&Image>) -> Result<(), Bad>,
    ) -> Result<(), Bad> {
        let mut wire = self.wire;
        if wire.packed_length()? != kind.width() {
            return Err(Bad::new("rows with another number of columns than their table"));
        }
        let bitmaps = if self.action == Action::Update { 2 } else { 1 };
        for _ in 0..bitmaps {
            if !kind.all_present(wire.bytes(kind.width().div_ceil(8))?) {
                return Err(Bad::new(
                    "rows without some of their columns: binlog_row_image must be FULL (SET GLOBAL \
                     binlog_row_image = FULL)",
                ));
            }
        }
        while !wire.0.is_empty() {
            match self.action {
                Action::Insert => take(None, Some(&kind.image(&mut wire)?))?,
                Action::Delete if planted(Bug::DeleteTakenForInsert) => {
                    take(None, Some(&kind.image(&mut wire)?))?;
                }
                Action::Delete => take(Some(&kind.image(&mut wire)?), None)?,
                Action::Update => {
                    let before = kind.image(&mut wire)?;
                    take(Some(&before), Some(&kind.image(&mut wire)?))?;
                }
            }
        }
        Ok(())
    }
}
