//! [`Part`]: the entries that share a lock and a budget, and which of them goes when the budget is used up.

#[cfg(test)]
mod tests;

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::super::{CompactKey, weight};
use super::OVERHEAD;
use super::ghosts::Ghosts;
use super::index::{Index, KeyHash};
use super::slots::{NONE, Slot, SlotNumber, Slots};
use crate::core::Entry;

/// Of a part's bytes, one in so many is the small queue's.
const SMALL_SHARE: u64 = 33;
/// For so many live entries one ghost.
const GHOST_SHARE: usize = 2;
/// Used so often while in the small queue, an entry enters the main one.
const USES_TO_STAY: u8 = 1;
/// Entries that one eviction may spare for having been used, before it takes what comes next: a put must not walk through
/// all of a queue.
const MOST_SPARED: usize = 64;
/// Slots that a removal looks at, to free dead ones: all of them are looked at while an eighth as many are removed, so the dead
/// stay few, and nobody waits for a sweep of all.
const SWEPT: usize = 8;
/// So few dead slots are left alone.
const FEW_DEAD: usize = 64;

const SLOT_BYTES: u64 = size_of::<Slot>() as u64;

/// S3-FIFO (Yang et al., SOSP 2023): new entries pass through a small queue, which those leave that nobody uses; the others,
/// and those that come back soon, enter the main one. A use moves nothing: it is counted in the slot.
pub(super) struct Part {
    slots: Slots,
    index: Index,
    ghosts: Ghosts,
    small: Queue,
    main: Queue,
    capacity: u64,
    live: usize,
    dead: usize,
}

/// Slots in the order in which they came, linked by [`Slot::next`].
struct Queue {
    head: SlotNumber,
    tail: SlotNumber,
    /// The last live one that the sweep looked at; what follows is next.
    swept: SlotNumber,
    /// Of its live entries.
    bytes: u64,
}

/// Entries whose time is over: dropped after the lock.
pub(super) type LetGo = Vec<Entry>;

impl Part {
    pub(super) fn new(capacity: u64, segments: usize) -> Self {
        Self {
            slots: Slots::new(),
            index: Index::new(segments),
            ghosts: Ghosts::new(),
            small: Queue::new(),
            main: Queue::new(),
            capacity,
            live: 0,
            dead: 0,
        }
    }

    #[inline]
    pub(super) fn get(&self, hash: KeyHash, key: CompactKey) -> Option<&Slot> {
        self.slots.get(self.index.find(hash, key, &self.slots)?)
    }

    /// See [`Index::touch`].
    #[inline]
    pub(super) fn touch_line(&self, hash: KeyHash) -> u32 {
        self.index.touch(hash)
    }

    /// The slot that may be the key's.
    #[inline]
    pub(super) fn touch_slot(&self, hash: KeyHash) -> Option<&Slot> {
        self.index.guess(hash).and_then(|number| self.slots.get(number))
    }

    /// Stores an entry in place of the one before. Answers how many were evicted for it; they go to `gone`, as does the one
    /// before.
    pub(super) fn put(
        &mut self,
        hash: KeyHash,
        key: CompactKey,
        entry: Entry,
        hasher: &RandomState,
        gone: &mut LetGo,
    ) -> u64 {
        let bytes = slot_bytes(&entry);
        if let Some(slot) = self.index.find(hash, key, &self.slots).and_then(|n| self.slots.get_mut(n)) {
            let queue = if slot.in_main() { &mut self.main } else { &mut self.small };
            if let Some(before) = slot.entry.replace(entry) {
                queue.bytes -= slot_bytes(&before);
                gone.push(before);
            }
            queue.bytes += bytes;
            return self.make_room(hasher, gone);
        }
        let mut evicted = 0;
        let number = loop {
            match self.slots.take() {
                Some(number) => break number,
                // As many as can be numbered.
                None => evicted += self.evict(hasher, gone),
            }
        };
        // What the small queue can't hold would go at once, and take all of that queue with it.
        let returned = self.ghosts.take(hash) || bytes > self.capacity / SMALL_SHARE;
        if let Some(slot) = self.slots.get_mut(number) {
            slot.fill(key, entry);
            if returned {
                slot.enters_main();
            }
        }
        let queue = if returned { &mut self.main } else { &mut self.small };
        queue.push(number, &mut self.slots);
        queue.bytes += bytes;
        self.live += 1;
        let slots = &self.slots;
        let hash_of = |number| slots.get(number).map_or(KeyHash(0), |slot| hash_of(hasher, slot.key()));
        self.index.insert(hash, number, hash_of);
        evicted + self.make_room(hasher, gone)
    }

    /// Drops the entry of a key.
    pub(super) fn remove(&mut self, hash: KeyHash, key: CompactKey) -> Option<Entry> {
        let number = self.index.find(hash, key, &self.slots)?;
        self.index.remove(hash, number);
        let slot = self.slots.get_mut(number)?;
        let queue = if slot.in_main() { &mut self.main } else { &mut self.small };
        let entry = slot.entry.take();
        queue.bytes -= entry.as_ref().map_or(0, slot_bytes);
        self.live -= 1;
        self.dead += 1;
        if self.dead > FEW_DEAD {
            for queue in [&mut self.small, &mut self.main] {
                self.dead -= queue.sweep(&mut self.slots, SWEPT);
            }
        }
        entry
    }

    pub(super) const fn live(&self) -> usize {
        self.live
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.small.bytes + self.main.bytes
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Slot> {
        self.slots.live()
    }

    /// Bytes of slots that were made for more entries than there are now, but for a few: they are not given back.
    fn idle_bytes(&self) -> u64 {
        self.slots.made().saturating_sub(self.live + Slots::AT_A_TIME) as u64 * SLOT_BYTES
    }

    fn make_room(&mut self, hasher: &RandomState, gone: &mut LetGo) -> u64 {
        let mut evicted = 0;
        while self.bytes() + self.idle_bytes() > self.capacity {
            match self.evict(hasher, gone) {
                0 => break,
                number => evicted += number,
            }
        }
        evicted
    }

    /// Lets one entry go. Answers how many went: none, if there is none.
    fn evict(&mut self, hasher: &RandomState, gone: &mut LetGo) -> u64 {
        let mut spared = 0;
        loop {
            let from_small = self.small.bytes > self.capacity / SMALL_SHARE || self.main.is_empty();
            let queue = if from_small { &mut self.small } else { &mut self.main };
            let Some(number) = queue.pop(&self.slots) else { return 0 };
            let Some(slot) = self.slots.get_mut(number) else { return 0 };
            let Some(bytes) = slot.entry.as_ref().map(slot_bytes) else {
                self.slots.give_back(number);
                self.dead -= 1;
                continue;
            };
            queue.bytes -= bytes;
            let uses = slot.uses();
            let stays = if from_small { uses >= USES_TO_STAY } else { uses > 0 };
            if stays && spared < MOST_SPARED {
                spared += 1;
                slot.set_uses(if from_small { 0 } else { uses - 1 });
                slot.enters_main();
                self.main.push(number, &mut self.slots);
                self.main.bytes += bytes;
                continue;
            }
            let hash = hash_of(hasher, slot.key());
            gone.extend(slot.entry.take());
            self.index.remove(hash, number);
            self.slots.give_back(number);
            self.live -= 1;
            if from_small {
                self.ghosts.make_room(self.live / GHOST_SHARE);
                self.ghosts.add(hash);
            }
            return 1;
        }
    }
}

impl Queue {
    const fn new() -> Self {
        Self { head: NONE, tail: NONE, swept: NONE, bytes: 0 }
    }

    const fn is_empty(&self) -> bool {
        self.head == NONE
    }

    fn push(&mut self, number: SlotNumber, slots: &mut Slots) {
        if let Some(slot) = slots.get_mut(number) {
            slot.next = NONE;
        }
        match slots.get_mut(self.tail) {
            Some(last) => last.next = number,
            None => self.head = number,
        }
        self.tail = number;
    }

    fn pop(&mut self, slots: &Slots) -> Option<SlotNumber> {
        let number = self.head;
        self.head = slots.get(number)?.next;
        if self.head == NONE {
            self.tail = NONE;
        }
        if self.swept == number {
            self.swept = NONE;
        }
        Some(number)
    }

    /// Looks at the next `steps` slots, from the head again after the tail, and frees those whose entries were removed.
    /// Answers how many.
    fn sweep(&mut self, slots: &mut Slots, steps: usize) -> usize {
        let mut freed = 0;
        for _ in 0..steps {
            let next = slots.get(self.swept).map_or(self.head, |swept| swept.next);
            let Some(slot) = slots.get(next) else {
                self.swept = NONE;
                break;
            };
            if slot.entry.is_some() {
                self.swept = next;
                continue;
            }
            let after = slot.next;
            match slots.get_mut(self.swept) {
                Some(before) => before.next = after,
                None => self.head = after,
            }
            if after == NONE {
                self.tail = self.swept;
            }
            slots.give_back(next);
            freed += 1;
        }
        freed
    }
}

/// Bytes that an entry counts for.
pub(super) fn slot_bytes(entry: &Entry) -> u64 {
    OVERHEAD + weight(entry) as u64
}

#[inline]
pub(super) fn hash_of(hasher: &RandomState, key: CompactKey) -> KeyHash {
    KeyHash(hasher.hash_one(key))
}
