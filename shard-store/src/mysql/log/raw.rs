//! The rows of one shard's transactions as they are: what a move follows (R25).

use std::collections::BTreeMap;

use bytes::Bytes;
use tao_schema::ids::{AssocType, EdgeKey, Epoch, ListKey, ObjectId, Seq, ShardId, Time};
use tao_schema::rows::{EdgeValue, EpochStart};

use super::Bad;
use super::harvest::Harvest;
use super::table::{Image, Kind};
use super::transaction::{ShardImage, edge_value, fields, narrow, object, shard_image};
use crate::apply::{CountRow, EdgeRow, OutboxRow, Tombstone, UnixMillis};
use crate::log::LogPosition;
use crate::moves::{MoveTable, RawKey, RawRequest, RawRow, RawTransaction};

/// What is known of the one shard.
#[derive(Clone, Debug)]
pub(in crate::mysql) struct RawKnown {
    shard: ShardId,
    /// The last image of its row; `None`: none came yet.
    row: Option<ShardImage>,
}

/// The shard's rows of one transaction.
#[derive(Default)]
pub(in crate::mysql) struct RawRows {
    /// The shard row before, and after.
    row: Option<(Option<ShardImage>, Option<ShardImage>)>,
    /// The last state of each row.
    rows: BTreeMap<RawKey, Option<RawRow>>,
}

impl RawKnown {
    pub(super) fn of(shard: ShardId) -> Self {
        Self { shard, row: None }
    }
}

impl Harvest for RawRows {
    type Item = RawTransaction;
    type Known = RawKnown;
    const ALL_TABLES: bool = true;

    fn take(
        &mut self,
        known: &RawKnown,
        kind: Kind,
        before: Option<&Image>,
        after: Option<&Image>,
    ) -> Result<(), Bad> {
        let Some(any) = after.or(before) else { return Ok(()) };
        if shard_of(kind, any) != Some(u64::from(known.shard.0)) {
            return Ok(());
        }
        if kind == Kind::Shard {
            let (before, after) = (before.map(shard_image).transpose()?, after.map(shard_image).transpose()?);
            // The first state before and the last one after count.
            let first = self.row.map_or(before, |(first, _)| first);
            self.row = Some((first, after));
            return Ok(());
        }
        let Some(key) = raw_key(kind, any) else { return Ok(()) };
        let row = after.map(|image| raw_row(kind, image)).transpose()?.flatten();
        self.rows.insert(key, row);
        Ok(())
    }

    fn finish(
        self,
        known: &mut RawKnown,
        position: &dyn Fn() -> LogPosition,
        out: &mut Vec<RawTransaction>,
    ) -> Result<(), Bad> {
        if self.row.is_none() && self.rows.is_empty() {
            return Ok(());
        }
        let (before, after) = match self.row {
            Some((before, Some(after))) => (before, Some(after)),
            // It was here, and nobody may take it away; or it never was.
            Some((Some(_), None)) => return Err(Bad::new("the shard row was deleted")),
            Some((None, None)) => return Ok(()),
            None => (known.row, None),
        };
        let last = known.row;
        known.row = after.or(known.row);
        let news = |row: Option<ShardImage>| row.is_some_and(|row| row.state.readable());
        // Rows of a shard that is being copied to here, or deleted here, are nobody's news (R9). Where no row of it came
        // yet, only a purge is without one.
        if !news(before) && !news(after) && (before.is_some() || after.is_some()) {
            return Ok(());
        }
        let seq = match (before, after) {
            (Some(before), Some(after)) => {
                let gap = last.is_some_and(|last| last.state.readable() && last.seq != before.seq);
                let steps = after.seq == before.seq || after.seq == before.seq.next() || !news(Some(before));
                if gap || !steps {
                    let message = format!("seq {} of shard {} after a gap", after.seq, known.shard);
                    return Err(Bad(message));
                }
                (after.seq != before.seq).then_some(after.seq)
            }
            // A new shard: nothing of it was written.
            (None, Some(_)) | (_, None) => None,
        };
        self.give(seq, after, position, out)
    }
}

impl RawRows {
    fn give(
        self,
        seq: Option<Seq>,
        after: Option<ShardImage>,
        position: &dyn Fn() -> LogPosition,
        out: &mut Vec<RawTransaction>,
    ) -> Result<(), Bad> {
        let (mut puts, mut deletes) = (Vec::new(), Vec::new());
        for (key, row) in self.rows {
            match row {
                Some(row) => puts.push(row),
                None => deletes.push(key),
            }
        }
        let purge = puts.is_empty() && deletes.iter().all(|key| key.table.purged());
        if after.is_none() && !purge {
            return Err(Bad::new("rows without their shard row"));
        }
        let shard = after.map(|row| (row.epoch, row.state));
        out.push(RawTransaction { seq, shard, puts, deletes, position: position() });
        Ok(())
    }
}

/// The shard that a row is of: its number, or the top 16 bits of its id.
fn shard_of(kind: Kind, image: &Image) -> Option<u64> {
    let first = image.numbers[0];
    match kind {
        Kind::Shard | Kind::EpochHistory | Kind::Request => Some(first),
        Kind::Object | Kind::Assoc | Kind::Count | Kind::Outbox | Kind::Tombstone => Some(first >> 48),
        Kind::Heartbeat | Kind::Topology => None,
    }
}

fn raw_key(kind: Kind, image: &Image) -> Option<RawKey> {
    let [a, b, c, ..] = image.numbers;
    let (table, parts) = match kind {
        Kind::Object => (MoveTable::Object, [a, 0, 0]),
        Kind::Assoc => (MoveTable::Assoc, [a, b, c]),
        Kind::Count => (MoveTable::AssocCount, [a, b, 0]),
        Kind::Outbox => (MoveTable::Outbox, [a, b, c]),
        Kind::Tombstone => (MoveTable::Tombstone, [a, b, c]),
        Kind::Request => (MoveTable::Request, [b, 0, 0]),
        Kind::EpochHistory => (MoveTable::EpochHistory, [b, 0, 0]),
        Kind::Shard | Kind::Heartbeat | Kind::Topology => return None,
    };
    Some(RawKey { table, parts })
}

fn edge_key(image: &Image) -> Result<EdgeKey, Bad> {
    let [id1, atype, id2, ..] = image.numbers;
    Ok(EdgeKey { id1: ObjectId(id1), atype: AssocType(narrow(atype)?), id2: ObjectId(id2) })
}

fn raw_row(kind: Kind, image: &Image) -> Result<Option<RawRow>, Bad> {
    let n = image.numbers;
    Ok(Some(match kind {
        Kind::Object => RawRow::Object(ObjectId(n[0]), object(image)?),
        Kind::Assoc => {
            let row = EdgeRow { value: edge_value(image)?, epoch: Epoch(narrow(n[4])?), seq: Seq(n[5]) };
            RawRow::Assoc(edge_key(image)?, row)
        }
        Kind::Count => {
            let list = ListKey { id1: ObjectId(n[0]), atype: AssocType(narrow(n[1])?) };
            RawRow::AssocCount(list, CountRow { count: n[2], version: Seq(n[3]) })
        }
        Kind::Outbox => {
            let value = EdgeValue { time: Time(narrow(n[5])?), fields: fields(image) };
            let row = OutboxRow {
                inverse: AssocType(narrow(n[3])?),
                value: (n[4] != 0).then_some(value),
                epoch: Epoch(narrow(n[6])?),
                seq: Seq(n[7]),
            };
            RawRow::Outbox(edge_key(image)?, row)
        }
        Kind::Tombstone => {
            let row = Tombstone { epoch: Epoch(narrow(n[3])?), seq: Seq(n[4]), at: UnixMillis(n[5]) };
            RawRow::Tombstone(edge_key(image)?, row)
        }
        Kind::Request => {
            let mut nonce = [0; 16];
            // Zeros at the end are left out.
            nonce[..image.binary.len()].copy_from_slice(image.binary);
            RawRow::Request(RawRequest {
                seq: Seq(n[1]),
                epoch: Epoch(narrow(n[2])?),
                nonce,
                // The number at the nonce's column is not used.
                at: UnixMillis(n[4]),
                body: Bytes::copy_from_slice(image.data),
            })
        }
        Kind::EpochHistory => {
            RawRow::EpochHistory(EpochStart { epoch: Epoch(narrow(n[1])?), first_seq: Seq(n[2]) })
        }
        Kind::Shard | Kind::Heartbeat | Kind::Topology => return Ok(None),
    }))
}
