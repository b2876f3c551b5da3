//! [`Slots`]: where a part's entries and their keys are.

use std::sync::atomic::{AtomicU8, Ordering};

use tao_schema::ids::ObjectId;

use super::super::CompactKey;
use crate::core::Entry;

/// Number of a slot. Below [`Slots::MOST`].
pub(super) type SlotNumber = u32;

/// No slot: the end of a list.
pub(super) const NONE: SlotNumber = u32::MAX;

/// Slots that are made at a time. They stay where they are, so growing copies nothing and leaves no outgrown memory.
const CHUNK: usize = 1 << 10;

/// Uses that are counted: more say nothing more.
const MOST_USES: u8 = 2;
/// The lowest bits of [`Slot::marks`].
const USES: u8 = 0b11;
/// The slot is in the main queue.
const MAIN: u8 = 1 << 2;

/// Slots by number, and those that are free. 24 bytes each.
pub(super) struct Slots {
    chunks: Vec<Box<[Slot]>>,
    free: SlotNumber,
}

/// One key with its entry, in a queue.
pub(super) struct Slot {
    /// `None`: the slot is free, or dead: its entry was removed, and its place in the queue was not reached yet.
    pub(super) entry: Option<Entry>,
    id: ObjectId,
    /// Behind it in its queue, or in the list of those that are free.
    pub(super) next: SlotNumber,
    kind: u16,
    is_object: bool,
    marks: AtomicU8,
}

impl Slots {
    /// An index entry has so many bits for a slot's number.
    pub(super) const MOST: usize = 1 << 24;

    /// So many are made at a time.
    pub(super) const AT_A_TIME: usize = CHUNK;

    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), free: NONE }
    }

    #[inline]
    pub(super) fn get(&self, number: SlotNumber) -> Option<&Slot> {
        let number = number as usize;
        self.chunks.get(number / CHUNK)?.get(number % CHUNK)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: SlotNumber) -> Option<&mut Slot> {
        let number = number as usize;
        self.chunks.get_mut(number / CHUNK)?.get_mut(number % CHUNK)
    }

    /// Slots that there are, free ones too.
    pub(super) fn made(&self) -> usize {
        self.chunks.len() * CHUNK
    }

    /// A free slot; `None`: there are as many as there can be.
    pub(super) fn take(&mut self) -> Option<SlotNumber> {
        if self.free == NONE {
            let first = self.chunks.len() * CHUNK;
            if first + CHUNK > Self::MOST {
                return None;
            }
            // Below `MOST`, so it fits.
            let last = (first + CHUNK - 1) as SlotNumber;
            let slot = |number| Slot::free(if number == last { NONE } else { number + 1 });
            self.chunks.push((first as SlotNumber..=last).map(slot).collect());
            self.free = first as SlotNumber;
        }
        let taken = self.free;
        self.free = self.get(taken)?.next;
        Some(taken)
    }

    /// Frees a slot that is in no queue any more.
    pub(super) fn give_back(&mut self, number: SlotNumber) {
        let free = self.free;
        if let Some(slot) = self.get_mut(number) {
            *slot = Slot::free(free);
            self.free = number;
        }
    }

    /// All that have an entry.
    pub(super) fn live(&self) -> impl Iterator<Item = &Slot> {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).filter(|slot| slot.entry.is_some())
    }
}

impl Slot {
    const fn free(next: SlotNumber) -> Self {
        let id = ObjectId(0);
        Self { entry: None, id, next, kind: 0, is_object: false, marks: AtomicU8::new(0) }
    }

    /// Fills a slot that was free.
    pub(super) fn fill(&mut self, key: CompactKey, entry: Entry) {
        // Every kind but that of objects is a type, of 16 bits.
        let is_object = key.kind == CompactKey::OBJECT;
        let kind = if is_object { 0 } else { key.kind as u16 };
        *self =
            Self { entry: Some(entry), id: key.id(), next: NONE, kind, is_object, marks: AtomicU8::new(0) };
    }

    #[inline]
    pub(super) fn key(&self) -> CompactKey {
        let kind = if self.is_object { CompactKey::OBJECT } else { self.kind.into() };
        CompactKey::new(self.id, kind)
    }

    /// Reads where the slot begins and where it ends, to have both fetched.
    #[inline]
    pub(super) fn touch(&self) -> u32 {
        u32::from(self.entry.is_some()) ^ self.next ^ u32::from(self.kind)
    }

    /// Counts a use. Two at once may count as one: a lock prefix for each hit would cost more than that is worth.
    #[inline]
    pub(super) fn used(&self) {
        let marks = self.marks.load(Ordering::Relaxed);
        if marks & USES < MOST_USES {
            self.marks.store(marks + 1, Ordering::Relaxed);
        }
    }

    /// Uses that were counted.
    pub(super) fn uses(&mut self) -> u8 {
        *self.marks.get_mut() & USES
    }

    /// Sets them.
    pub(super) fn set_uses(&mut self, uses: u8) {
        let marks = self.marks.get_mut();
        *marks = *marks & !USES | uses.min(MOST_USES);
    }

    /// Whether it is in the main queue.
    pub(super) fn in_main(&mut self) -> bool {
        *self.marks.get_mut() & MAIN != 0
    }

    /// Notes that it is.
    pub(super) fn enters_main(&mut self) {
        *self.marks.get_mut() |= MAIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Slots {
        /// Bytes of all slots.
        pub(in super::super) fn bytes(&self) -> usize {
            self.chunks.len() * CHUNK * size_of::<Slot>()
        }
    }

    #[test]
    fn a_slot_takes_24_bytes() {
        assert_eq!(size_of::<Slot>(), 24);
    }

    #[test]
    fn what_was_given_back_is_taken_again_first() {
        let mut slots = Slots::new();
        let taken: Vec<_> = (0..2 * CHUNK).map(|_| slots.take().unwrap()).collect();
        assert_eq!(slots.chunks.len(), 2);
        let mut sorted = taken.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 2 * CHUNK);
        slots.give_back(taken[7]);
        assert_eq!(slots.take(), Some(taken[7]));
        assert_eq!(slots.take(), Some(2 * CHUNK as u32));
    }
}
