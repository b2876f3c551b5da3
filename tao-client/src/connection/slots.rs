//! Who waits for what on one stream: slots, the ids that name them, and the replies that fill them.
//!
//! A caller has one slot and is woken once, also when he waits for a *group* of up to [`MAX_GROUP`] reads. The id of a
//! request is `generation << 22 | index << 16 | slot`: the index is its place in the group, the generation makes the id
//! unique for the life of the connection.

use bytes::Bytes;
use tao_schema::wire::frames::{RawReply, ReplyAt, ReplyRef};
use tao_schema::{Error, ErrorCode, Result};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Low bits of an id that hold the slot.
pub(super) const SLOT_BITS: u32 = 16;
/// The next bits: the place in the group.
const INDEX_BITS: u32 = 6;
/// Reads that may share a slot.
pub(crate) const MAX_GROUP: usize = 1 << INDEX_BITS;

/// What the caller of one request gets.
pub(crate) type Outcome = Result<RawReply>;
/// Callers and what they are to be told, gathered under the lock and delivered after it.
pub(super) type Deliveries = Vec<Delivery>;

/// What the caller of a group gets.
#[derive(Debug)]
pub(crate) struct Answers {
    replies: GroupReplies,
    /// Why some have no reply.
    why: Option<Error>,
}

/// The replies to a group so far. They stay in their frames, each of which is held once.
#[derive(Debug)]
pub(super) struct GroupReplies {
    /// Frames, with the bytes of each that are the group's.
    frames: Vec<(Bytes, usize)>,
    /// In the order of the reads.
    places: Vec<Option<Place>>,
}

/// Where a reply is: the frame's number, and its place there.
#[derive(Clone, Copy, Debug)]
struct Place {
    frame: u32,
    at: ReplyAt,
}

/// See [`Deliveries`].
pub(super) enum Delivery {
    One(oneshot::Sender<Outcome>, Outcome),
    Group(oneshot::Sender<Answers>, Answers),
}

/// Of one stream.
pub(super) struct Slots {
    slots: Vec<Option<Waiter>>,
    free: Vec<u16>,
    generation: u64,
}

/// A caller that waits.
pub(super) struct Waiter {
    /// Of his first request.
    pub(super) id: u64,
    pub(super) deadline: Instant,
    /// Whether a lost answer leaves open what happened (R4).
    pub(super) writes: bool,
    /// Ordinal of the sending of his first request; `None`: still queued.
    pub(super) sent: Option<u64>,
    /// Requests without a reply.
    left: usize,
    caller: Caller,
}

/// How a caller is told.
pub(super) enum Caller {
    One(oneshot::Sender<Outcome>),
    Group(oneshot::Sender<Answers>, GroupReplies),
}

/// The id of the request at place `index` of the group that begins with `id`.
#[inline]
pub(super) const fn id_at(id: u64, index: usize) -> u64 {
    id | (index as u64) << SLOT_BITS
}

const fn slot_of(id: u64) -> usize {
    (id & ((1 << SLOT_BITS) - 1)) as usize
}

const fn index_of(id: u64) -> usize {
    (id >> SLOT_BITS) as usize & (MAX_GROUP - 1)
}

impl Slots {
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), generation: 0 }
    }

    /// The id that the next caller gets, if he comes.
    ///
    /// # Errors
    /// `Overloaded` if all slots are taken.
    pub(super) fn next_id(&self) -> Result<u64> {
        let slot = match self.free.last() {
            Some(slot) => *slot,
            // Slots = callers under way + queued <= 2^15 + 2^15 - 1, as each has a request at least.
            None => u16::try_from(self.slots.len())
                .map_err(|_| Error::new(ErrorCode::Overloaded, "too many requests under way to this node"))?,
        };
        Ok((self.generation + 1) << (SLOT_BITS + INDEX_BITS) | u64::from(slot))
    }

    /// Lets a caller in, under [`Slots::next_id`].
    pub(super) fn occupy(&mut self, waiter: Waiter) {
        self.generation += 1;
        let slot = slot_of(waiter.id);
        if self.free.pop().is_none() {
            self.slots.push(None);
        }
        self.slots[slot] = Some(waiter);
    }

    /// Callers that were let in so far.
    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Callers that wait.
    pub(super) const fn waiting(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The caller whose first request has this id, if he still waits.
    #[inline]
    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Waiter> {
        self.slots.get_mut(slot_of(id))?.as_mut().filter(|waiter| waiter.id == id)
    }

    /// Every caller that waits.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiter> {
        self.slots.iter().flatten()
    }

    /// Frees a caller's slot.
    pub(super) fn remove(&mut self, id: u64) -> Option<Waiter> {
        let slot = slot_of(id);
        let waiter = self.slots.get_mut(slot)?.take_if(|waiter| waiter.id == id)?;
        self.free.push(slot as u16);
        Some(waiter)
    }

    /// Gives a reply to whom it belongs, and a caller who has all of his to `deliveries`. Tells the ordinal of the sending
    /// of its request; `None`: nobody waits for it (any more), or it was not asked.
    #[inline]
    pub(super) fn answer(
        &mut self,
        id: u64,
        frame: &Bytes,
        at: ReplyAt,
        deliveries: &mut Deliveries,
    ) -> Option<u64> {
        let (slot, index) = (slot_of(id), index_of(id));
        let holder = self.slots.get_mut(slot)?;
        let waiter = holder.as_mut().filter(|waiter| id_at(waiter.id, index) == id)?;
        let ordinal = waiter.sent? + index as u64;
        if let Caller::Group(_, replies) = &mut waiter.caller {
            replies.take(index, frame, at)?;
            waiter.left -= 1;
            if waiter.left > 0 {
                return Some(ordinal);
            }
            let waiter = holder.take()?;
            self.free.push(slot as u16);
            deliveries.push(waiter.delivery(None));
        } else {
            if index > 0 {
                return None;
            }
            let waiter = holder.take()?;
            self.free.push(slot as u16);
            if let Caller::One(sender) = waiter.caller {
                deliveries.push(Delivery::One(sender, Ok(RawReply::new(id, frame, at))));
            }
        }
        Some(ordinal)
    }
}

impl Waiter {
    /// One who comes now.
    pub(super) const fn new(id: u64, deadline: Instant, writes: bool, caller: Caller) -> Self {
        let left = match &caller {
            Caller::One(_) => 1,
            Caller::Group(_, replies) => replies.places.len(),
        };
        Self { id, deadline, writes, sent: None, left, caller }
    }

    /// Requests that were sent and have no reply.
    pub(super) const fn in_flight(&self) -> usize {
        if self.sent.is_some() { self.left } else { 0 }
    }

    /// Ends the wait: what has no reply has this error.
    pub(super) fn fail(self, error: Error) -> Delivery {
        self.delivery(Some(error))
    }

    fn delivery(self, why: Option<Error>) -> Delivery {
        match self.caller {
            Caller::One(sender) => Delivery::One(sender, Err(why.unwrap_or_else(lost))),
            Caller::Group(sender, replies) => Delivery::Group(sender, Answers { replies, why }),
        }
    }
}

impl Caller {
    /// Of a group of so many reads.
    pub(super) fn group(sender: oneshot::Sender<Answers>, reads: usize) -> Self {
        Self::Group(sender, GroupReplies { frames: Vec::new(), places: vec![None; reads] })
    }
}

impl GroupReplies {
    /// Notes where the reply to a read is; `None`: it has one, or there is no such read.
    #[inline]
    fn take(&mut self, index: usize, frame: &Bytes, at: ReplyAt) -> Option<()> {
        let place = self.places.get_mut(index).filter(|place| place.is_none())?;
        match self.frames.last_mut() {
            // While it is held, no other frame can lie there.
            Some((held, share)) if held.as_ptr() == frame.as_ptr() => *share += at.size(),
            _ => self.frames.push((frame.clone(), at.size())),
        }
        // At most a frame for each of `MAX_GROUP` reads.
        *place = Some(Place { frame: self.frames.len() as u32 - 1, at });
        Some(())
    }
}

impl Delivery {
    /// Wakes the caller. One who has just gone away does not want it.
    pub(super) fn deliver(self) {
        match self {
            Self::One(sender, outcome) => drop(sender.send(outcome)),
            Self::Group(sender, answers) => drop(sender.send(answers)),
        }
    }
}

impl Answers {
    /// One outcome for each read, in their order.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = Result<ReplyRef<'_>>> {
        self.replies.places.iter().map(|place| {
            place
                .and_then(|place| {
                    let (frame, share) = self.replies.frames.get(place.frame as usize)?;
                    Some(ReplyRef::new(frame, place.at, *share))
                })
                .ok_or_else(|| self.why.clone().unwrap_or_else(lost))
        })
    }
}

/// Of a reply that is missing without a reason.
pub(super) fn lost() -> Error {
    Error::internal("a request lost its slot without an answer")
}
