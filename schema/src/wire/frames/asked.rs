//! Reads as they are asked: a request of the usual layout is written in one piece.

use bytes::BytesMut;

use super::ENTRY;
use super::piece::Piece;
use super::requests::{
    ASSOC_COUNT, ASSOC_RANGE, ASSOC_TIME_RANGE, AT_LEAST, ATYPE, DEADLINE, ID, ID1, OBJECT_GET, READ,
    put_request,
};
use crate::ids::ListKey;
use crate::ops::{Demand, Freshness, ReadOp, ReadRequest};
use crate::planted::{Bug, planted};
use crate::wire::envelope::{RequestOp, encode_request};

/// A [`ReadRequest`] whose parts belong to somebody else.
#[derive(Clone, Copy, Debug)]
pub struct ReadRequestRef<'a> {
    /// See [`ReadRequest`].
    pub op: &'a ReadOp,
    /// See [`ReadRequest`].
    pub demand: &'a Demand,
    /// See [`ReadRequest`].
    pub explain: bool,
    /// See [`ReadRequest`].
    pub forwarded: bool,
}

impl<'a> ReadRequestRef<'a> {
    /// A read that takes what the nearest memory has; see [`ReadRequest::local`].
    pub const fn local(op: &'a ReadOp) -> Self {
        static NOTHING: Demand = Demand::local();
        Self { op, demand: &NOTHING, explain: false, forwarded: false }
    }

    /// As a value of its own.
    pub fn into_owned(self) -> ReadRequest {
        let Self { op, demand, explain, forwarded } = self;
        ReadRequest { op: op.clone(), demand: demand.clone(), explain, forwarded }
    }

    /// Whether it demands nothing but a position.
    #[inline]
    fn is_usual(&self) -> bool {
        self.demand.lineage.is_empty()
            && matches!(self.demand.freshness, Freshness::Any)
            && self.demand.not_before.is_none()
            && !self.explain
            && !self.forwarded
            && !planted(Bug::LineageLostOnWire)
    }
}

impl<'a> From<&'a ReadRequest> for ReadRequestRef<'a> {
    fn from(read: &'a ReadRequest) -> Self {
        Self { op: &read.op, demand: &read.demand, explain: read.explain, forwarded: read.forwarded }
    }
}

/// Appends a read to a frame. `deadline_ms`: how long the caller still waits; 0: the server's default.
#[inline]
pub fn put_read(frame: &mut BytesMut, id: u64, deadline_ms: u32, read: ReadRequestRef<'_>) {
    let mut piece = Piece::new();
    if read.is_usual() && piece.read(id, deadline_ms, read).is_some() {
        frame.extend_from_slice(piece.bytes());
    } else {
        put_unusual(frame, id, deadline_ms, read);
    }
}

#[cold]
fn put_unusual(frame: &mut BytesMut, id: u64, deadline_ms: u32, read: ReadRequestRef<'_>) {
    let mut request = encode_request(id, None, RequestOp::Read(read.into_owned()));
    request.deadline_ms = deadline_ms;
    put_request(frame, &request);
}

/// A read takes at most 75 bytes: its frame entry, id and deadline 19, the operation 33, the position 23.
impl Piece {
    /// `None`: it is of any length.
    #[inline]
    fn read(&mut self, id: u64, deadline_ms: u32, read: ReadRequestRef<'_>) -> Option<()> {
        let entry = self.open(ENTRY);
        self.varint(ID, id);
        self.varint(DEADLINE, deadline_ms.into());
        let body = self.open(READ);
        self.op(read.op)?;
        if let Some(position) = read.demand.at_least {
            self.position(AT_LEAST, position);
        }
        self.close(body);
        self.close(entry);
        Some(())
    }

    #[inline]
    fn op(&mut self, op: &ReadOp) -> Option<()> {
        let start = match op {
            ReadOp::ObjectGet(id) => {
                let start = self.open(OBJECT_GET);
                self.fixed(ID1, id.0.to_le_bytes());
                start
            }
            ReadOp::AssocCount(list) => self.list(ASSOC_COUNT, list),
            ReadOp::AssocRange { list, pos, limit } => {
                let start = self.list(ASSOC_RANGE, list);
                self.varint(0x18, (*pos).into());
                self.varint(0x20, (*limit).into());
                start
            }
            ReadOp::AssocTimeRange { list, high, low, limit } => {
                let start = self.list(ASSOC_TIME_RANGE, list);
                self.fixed(0x1d, high.0.to_le_bytes());
                self.fixed(0x25, low.0.to_le_bytes());
                self.varint(0x28, (*limit).into());
                start
            }
            ReadOp::AssocGet { .. } => return None,
        };
        self.close(start);
        Some(())
    }

    #[inline]
    fn list(&mut self, key: u8, list: &ListKey) -> usize {
        let start = self.open(key);
        self.fixed(ID1, list.id1.0.to_le_bytes());
        self.varint(ATYPE, list.atype.0.into());
        start
    }
}
