//! The stored outcomes of one shard's part of a batch (R3): compact, versioned, checked.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tao_schema::error::{Error, ErrorCode, Result};
use tao_schema::ids::{Epoch, ObjectId, Position, RequestId, Seq, ShardId};
use tao_schema::ops::{Effect, Outcome};
use xxhash_rust::xxh3::xxh3_64;

/// First byte of every body.
const FORMAT: u8 = 1;
/// Bytes of the checksum at the end.
const CHECKSUM: usize = 8;
/// Set in an outcome's byte if an id follows.
const HAS_ID: u8 = 0x80;

/// A row of the request table: primary key (shard, seq); `body` is opaque to SQL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestRow {
    /// Where the batch stands in the shard's log.
    pub position: Position,
    /// The encoded outcomes.
    pub body: Bytes,
}

/// One request's outcome.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredOutcome {
    /// The request.
    pub id: RequestId,
    /// Positions beyond that of the row: shards written together with it.
    pub others: Vec<Position>,
    /// One for each op.
    pub outcomes: Vec<Outcome>,
}

impl RequestRow {
    /// Encodes outcomes.
    pub fn encode(position: Position, outcomes: &[StoredOutcome]) -> Self {
        let mut body = BytesMut::with_capacity(outcomes.len() * 24 + 16);
        body.put_u8(FORMAT);
        body.put_u32_le(outcomes.len() as u32);
        for stored in outcomes {
            body.put_u128_le(stored.id.0);
            body.put_u16_le(stored.others.len() as u16);
            for other in &stored.others {
                body.put_u16_le(other.shard.0);
                body.put_u32_le(other.epoch.0);
                body.put_u64_le(other.seq.0);
            }
            body.put_u16_le(stored.outcomes.len() as u16);
            for outcome in &stored.outcomes {
                body.put_u8(effect_number(outcome.effect) | outcome.id.map_or(0, |_| HAS_ID));
                if let Some(id) = outcome.id {
                    body.put_u64_le(id.0);
                }
            }
        }
        let checksum = xxh3_64(&body);
        body.put_u64_le(checksum);
        Self { position, body: body.freeze() }
    }

    /// Decodes the outcomes.
    ///
    /// # Errors
    /// [`ErrorCode::Corrupt`] for another format or damaged bytes.
    pub fn decode(&self) -> Result<Vec<StoredOutcome>> {
        let corrupt = |what: &str| {
            Error::new(ErrorCode::Corrupt, format!("the request row at {}: {what}", self.position))
        };
        let Some(at) = self.body.len().checked_sub(CHECKSUM) else { return Err(corrupt("too short")) };
        let (content, mut checksum) = self.body.split_at(at);
        if checksum.get_u64_le() != xxh3_64(content) {
            return Err(corrupt("its checksum is wrong"));
        }
        if content.first() != Some(&FORMAT) {
            return Err(corrupt("of a format that this version does not know"));
        }
        decode_outcomes(&content[1..]).ok_or_else(|| corrupt("its content does not parse"))
    }
}

fn decode_outcomes(mut content: &[u8]) -> Option<Vec<StoredOutcome>> {
    let buf = &mut content;
    let count = buf.try_get_u32_le().ok()?;
    let mut all = Vec::new();
    for _ in 0..count {
        let id = RequestId(buf.try_get_u128_le().ok()?);
        let mut others = Vec::new();
        for _ in 0..buf.try_get_u16_le().ok()? {
            others.push(Position {
                shard: ShardId(buf.try_get_u16_le().ok()?),
                epoch: Epoch(buf.try_get_u32_le().ok()?),
                seq: Seq(buf.try_get_u64_le().ok()?),
            });
        }
        let mut outcomes = Vec::new();
        for _ in 0..buf.try_get_u16_le().ok()? {
            let byte = buf.try_get_u8().ok()?;
            let has_id = byte & HAS_ID != 0;
            let id = if has_id { Some(ObjectId(buf.try_get_u64_le().ok()?)) } else { None };
            outcomes.push(Outcome { effect: effect_of(byte & !HAS_ID)?, id });
        }
        all.push(StoredOutcome { id, others, outcomes });
    }
    buf.is_empty().then_some(all)
}

const fn effect_number(effect: Effect) -> u8 {
    match effect {
        Effect::Created => 1,
        Effect::Updated => 2,
        Effect::Deleted => 3,
        Effect::Nothing => 4,
    }
}

const fn effect_of(number: u8) -> Option<Effect> {
    Some(match number {
        1 => Effect::Created,
        2 => Effect::Updated,
        3 => Effect::Deleted,
        4 => Effect::Nothing,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> (RequestRow, Vec<StoredOutcome>) {
        let position = Position { shard: ShardId(u16::MAX), epoch: Epoch(7), seq: Seq(u64::MAX) };
        let outcomes = vec![
            StoredOutcome { id: RequestId(u128::MAX - 1), others: vec![], outcomes: vec![] },
            StoredOutcome {
                id: RequestId(3),
                others: vec![Position { shard: ShardId(2), epoch: Epoch(u32::MAX), seq: Seq(9) }],
                outcomes: vec![
                    Outcome { effect: Effect::Created, id: Some(ObjectId(u64::MAX)) },
                    Outcome { effect: Effect::Updated, id: None },
                    Outcome { effect: Effect::Deleted, id: None },
                    Outcome { effect: Effect::Nothing, id: Some(ObjectId(0)) },
                ],
            },
        ];
        (RequestRow::encode(position, &outcomes), outcomes)
    }

    #[test]
    fn outcomes_come_back() {
        let (row, outcomes) = row();
        assert_eq!(row.decode().unwrap(), outcomes);
    }

    #[test]
    fn damage_is_seen() {
        let (row, _) = row();
        for at in 0..row.body.len() {
            let mut bytes = row.body.to_vec();
            bytes[at] ^= 0x10;
            let damaged = RequestRow { position: row.position, body: bytes.into() };
            assert_eq!(damaged.decode().unwrap_err().code, ErrorCode::Corrupt, "byte {at}");
            let cut = RequestRow { position: row.position, body: row.body.slice(..at) };
            assert_eq!(cut.decode().unwrap_err().code, ErrorCode::Corrupt, "cut at {at}");
        }
    }
}
