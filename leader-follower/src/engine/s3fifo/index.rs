//! [`Index`]: from a key's hash to its slot.
//!
//! A table of lines of the processor's cache, sixteen entries of four bytes each: a tag, which is a part of the hash, and the
//! number of a slot. A line that is full overflows into the next one. A lookup reads one line in most cases, and reads it
//! without knowing anything else; so the lines of many keys can be fetched at once.

use super::super::CompactKey;
use super::slots::{SlotNumber, Slots};

/// Entries of a line.
const WIDTH: usize = 16;
/// Tag of an entry where nothing was since the segment was made: whoever looks for something need not go on.
const EMPTY: u8 = 0;
/// Tag of an entry where something was: whoever looks for something must go on.
const GONE: u8 = 1;
/// A one in each byte.
const ONES: u128 = u128::MAX / 0xFF;

/// Hash table of a part, in segments that grow each for itself: nobody waits for the growth of a large table.
pub(super) struct Index {
    segments: Box<[Segment]>,
}

struct Segment {
    /// A power of two of them.
    lines: Vec<Line>,
    /// Entries that name a slot.
    live: usize,
    /// Entries that are not empty.
    used: usize,
}

/// Tags by themselves, so that all are compared at once.
#[derive(Clone)]
#[repr(align(64))]
struct Line {
    tags: [u8; WIDTH],
    /// Little-endian.
    numbers: [[u8; 3]; WIDTH],
}

/// Entries of a line, a byte each, whose highest bit says whether the entry is one of them.
#[derive(Clone, Copy)]
struct Places(u128);

/// The hash of a key, and what the parts of a cache take of it: bits 0 to 7 the part, 8 to 23 the segment, 24 to 55 the line,
/// 56 to 63 the tag. The ghosts know a key by bits 32 to 63.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct KeyHash(pub(super) u64);

impl KeyHash {
    pub(super) const fn part(self, parts: usize) -> usize {
        self.0 as usize & (parts - 1)
    }

    const fn segment(self, segments: usize) -> usize {
        (self.0 >> 8) as u16 as usize & (segments - 1)
    }

    const fn line(self, lines: usize) -> usize {
        (self.0 >> 24) as u32 as usize & (lines - 1)
    }

    /// Neither [`EMPTY`] nor [`GONE`].
    const fn tag(self) -> u8 {
        let tag = (self.0 >> 56) as u8;
        if tag > GONE { tag } else { tag + 2 }
    }

    pub(super) const fn print(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl Index {
    /// Segments may be so many.
    pub(super) const MOST_SEGMENTS: usize = 1 << 16;

    /// An empty one, of `segments` (rounded up to a power of two).
    pub(super) fn new(segments: usize) -> Self {
        let segments = segments.clamp(1, Self::MOST_SEGMENTS).next_power_of_two();
        Self { segments: (0..segments).map(|_| Segment::new(1)).collect() }
    }

    /// Reads the line that a lookup begins with, to have it fetched.
    #[inline]
    pub(super) fn touch(&self, hash: KeyHash) -> u32 {
        let segment = &self.segments[hash.segment(self.segments.len())];
        segment.lines[hash.line(segment.lines.len())].tags[0].into()
    }

    /// The first slot that may be the key's.
    #[inline]
    pub(super) fn guess(&self, hash: KeyHash) -> Option<SlotNumber> {
        let segment = &self.segments[hash.segment(self.segments.len())];
        let line = &segment.lines[hash.line(segment.lines.len())];
        line.tagged(hash.tag()).next().map(|place| line.number(place))
    }

    /// The slot of a key.
    #[inline]
    pub(super) fn find(&self, hash: KeyHash, key: CompactKey, slots: &Slots) -> Option<SlotNumber> {
        let segment = &self.segments[hash.segment(self.segments.len())];
        segment
            .find(hash, |number| slots.get(number).is_some_and(|slot| slot.key() == key))
            .map(|place| place.2)
    }

    /// Notes where a key is that is not in the index. `hash_of`: the hash of the key of a slot.
    pub(super) fn insert(
        &mut self,
        hash: KeyHash,
        number: SlotNumber,
        hash_of: impl Fn(SlotNumber) -> KeyHash,
    ) {
        let at = hash.segment(self.segments.len());
        let segment = &mut self.segments[at];
        if (segment.used + 1) * 8 > segment.lines.len() * WIDTH * 7 {
            // Twice as large, unless most of it is gone.
            let full = segment.live * 8 > segment.lines.len() * WIDTH * 5;
            segment.rebuild(segment.lines.len() << usize::from(full), hash_of);
        }
        segment.insert(hash, number);
    }

    /// Forgets the slot of a key.
    pub(super) fn remove(&mut self, hash: KeyHash, number: SlotNumber) {
        let at = hash.segment(self.segments.len());
        self.segments[at].remove(hash, number);
    }
}

impl Segment {
    fn new(lines: usize) -> Self {
        Self { lines: vec![Line::EMPTY; lines], live: 0, used: 0 }
    }

    /// Line, place in it, and number of the slot that `is` says it is.
    #[inline]
    fn find(&self, hash: KeyHash, is: impl Fn(SlotNumber) -> bool) -> Option<(usize, usize, SlotNumber)> {
        let mut at = hash.line(self.lines.len());
        // There is an empty entry in any case, so this ends.
        loop {
            let line = &self.lines[at];
            for place in line.tagged(hash.tag()) {
                let number = line.number(place);
                if is(number) {
                    return Some((at, place, number));
                }
            }
            if line.has_empty() {
                return None;
            }
            at = (at + 1) & (self.lines.len() - 1);
        }
    }

    fn insert(&mut self, hash: KeyHash, number: SlotNumber) {
        let mut at = hash.line(self.lines.len());
        loop {
            let line = &mut self.lines[at];
            if let Some(place) = line.tags.iter().position(|tag| *tag <= GONE) {
                self.used += usize::from(line.tags[place] == EMPTY);
                line.set(place, hash.tag(), number);
                self.live += 1;
                return;
            }
            at = (at + 1) & (self.lines.len() - 1);
        }
    }

    fn remove(&mut self, hash: KeyHash, slot: SlotNumber) {
        let Some((at, place, _)) = self.find(hash, |number| number == slot) else { return };
        let line = &mut self.lines[at];
        // Nobody went past a line with an empty entry.
        let ends_here = line.has_empty();
        line.tags[place] = if ends_here { EMPTY } else { GONE };
        self.used -= usize::from(ends_here);
        self.live -= 1;
    }

    fn rebuild(&mut self, lines: usize, hash_of: impl Fn(SlotNumber) -> KeyHash) {
        let old = std::mem::replace(self, Self::new(lines));
        for line in &old.lines {
            for place in (0..WIDTH).filter(|place| line.tags[*place] > GONE) {
                let number = line.number(place);
                self.insert(hash_of(number), number);
            }
        }
    }
}

impl Line {
    const EMPTY: Self = Self { tags: [EMPTY; WIDTH], numbers: [[0; 3]; WIDTH] };

    /// The entries with this tag.
    #[inline]
    fn tagged(&self, tag: u8) -> Places {
        let differences = u128::from_le_bytes(self.tags) ^ (ONES * u128::from(tag));
        // Adding carries into the highest bit of each byte that is not zero, and no further.
        let low = (differences & (ONES * 0x7F)) + ONES * 0x7F;
        Places(!(low | differences) & (ONES * 0x80))
    }

    #[inline]
    fn has_empty(&self) -> bool {
        self.tagged(EMPTY).0 != 0
    }

    #[inline]
    fn number(&self, place: usize) -> SlotNumber {
        let [low, middle, high] = self.numbers[place];
        u32::from_le_bytes([low, middle, high, 0])
    }

    fn set(&mut self, place: usize, tag: u8, number: SlotNumber) {
        let [low, middle, high, _] = number.to_le_bytes();
        self.tags[place] = tag;
        self.numbers[place] = [low, middle, high];
    }
}

impl Iterator for Places {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let place = self.0.trailing_zeros() as usize / 8;
        self.0 &= self.0.wrapping_sub(1);
        (place < WIDTH).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    impl Index {
        /// Bytes of all lines.
        pub(in super::super) fn bytes(&self) -> usize {
            self.segments.iter().map(|segment| segment.lines.len() * size_of::<Line>()).sum()
        }
    }

    #[test]
    fn a_line_has_64_bytes_and_tells_its_tags_apart() {
        assert_eq!(size_of::<Line>(), 64);
        let mut line = Line::EMPTY;
        let tags = [2, 3, 255, 254, 2, 128, 127, 129, 1, 3, 2, 255, 0, 0, 130];
        for (place, tag) in tags.into_iter().enumerate() {
            line.set(place, tag, (1 << 24) - 1 - place as u32);
        }
        for tag in 0..=255 {
            let expected: Vec<usize> = (0..WIDTH).filter(|place| line.tags[*place] == tag).collect();
            assert_eq!(line.tagged(tag).collect::<Vec<_>>(), expected, "tag {tag}");
        }
        assert_eq!(line.number(3), (1 << 24) - 4);
    }

    /// Against a list, with few lines and few tags, so that lines overflow and tags are shared.
    #[test]
    fn finds_what_is_there_and_nothing_else() {
        for seed in 0..20 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut index = Index::new(2);
            let mut there: Vec<(SlotNumber, KeyHash)> = Vec::new();
            let mut hashes = Vec::new();
            for step in 0..4_000u32 {
                let grows = step % 2_000 < 1_000;
                if there.is_empty() || random.random_bool(if grows { 0.7 } else { 0.3 }) {
                    let number = hashes.len() as SlotNumber;
                    let crowded = random.random_range(0..64u64) << 24 | random.random_range(0..3u64) << 56;
                    let hash = KeyHash(crowded | random.random_range(0..2u64) << 8);
                    hashes.push(hash);
                    index.insert(hash, number, |number| hashes[number as usize]);
                    there.push((number, hash));
                } else {
                    let (number, hash) = there.swap_remove(random.random_range(0..there.len()));
                    index.remove(hash, number);
                    let segment = &index.segments[hash.segment(2)];
                    assert!(segment.find(hash, |other| other == number).is_none(), "seed {seed}");
                }
            }
            for (number, hash) in &there {
                let segment = &index.segments[hash.segment(2)];
                let found = segment.find(*hash, |other| other == *number).map(|place| place.2);
                assert_eq!(found, Some(*number), "seed {seed}");
            }
            assert_eq!(index.segments.iter().map(|segment| segment.live).sum::<usize>(), there.len());
            let room: usize = index.segments.iter().map(|segment| segment.lines.len() * WIDTH).sum();
            assert!(room <= 8_192, "seed {seed}: {room} entries of room for at most 700");
        }
    }
}
