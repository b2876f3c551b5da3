//! [`Ghosts`]: keys that were let go lately, by 32 bits of their hashes.

use super::index::KeyHash;

/// Ghosts of a set.
const WIDTH: usize = 8;

/// The last ones that were let go: in sets by hash, each in the order in which they came. 4 bytes each. Of two keys with the
/// same 32 bits one may be taken for the other; then it enters the wrong queue, which harms nobody.
pub(super) struct Ghosts {
    /// Newest first; zero: none.
    sets: Vec<[u32; WIDTH]>,
}

impl Ghosts {
    pub(super) const fn new() -> Self {
        Self { sets: Vec::new() }
    }

    /// Has room for `number` of them. Cheap if it has.
    pub(super) fn make_room(&mut self, number: usize) {
        let wanted = number.div_ceil(WIDTH);
        if wanted <= self.sets.len() {
            return;
        }
        // A quarter more, so that this is rare.
        let larger = vec![[0; WIDTH]; wanted + wanted / 4];
        let old = std::mem::replace(&mut self.sets, larger);
        // Oldest first.
        for ghost in old.iter().flat_map(|set| set.iter().rev()).filter(|ghost| **ghost != 0) {
            self.put(*ghost);
        }
    }

    /// Remembers one that was let go, in place of the oldest.
    pub(super) fn add(&mut self, hash: KeyHash) {
        self.put(print(hash));
    }

    /// Whether it was let go lately. Forgets it.
    pub(super) fn take(&mut self, hash: KeyHash) -> bool {
        let print = print(hash);
        let Some(at) = self.set_of(print) else { return false };
        let set = &mut self.sets[at];
        let Some(place) = set.iter().position(|ghost| *ghost == print) else { return false };
        set[place..].rotate_left(1);
        set[WIDTH - 1] = 0;
        true
    }

    fn put(&mut self, print: u32) {
        if let Some(at) = self.set_of(print) {
            let set = &mut self.sets[at];
            set.rotate_right(1);
            set[0] = print;
        }
    }

    fn set_of(&self, print: u32) -> Option<usize> {
        let sets = self.sets.len();
        // Below `sets`, so it fits.
        (sets > 0).then(|| ((u64::from(print) * sets as u64) >> 32) as usize)
    }
}

/// Never zero.
const fn print(hash: KeyHash) -> u32 {
    let print = hash.print();
    if print == 0 { 1 } else { print }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Ghosts {
        /// Bytes of all sets.
        pub(in super::super) fn bytes(&self) -> usize {
            self.sets.len() * WIDTH * size_of::<u32>()
        }
    }

    fn hash(number: u64) -> KeyHash {
        KeyHash(number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    #[test]
    fn remembers_the_last_ones_and_keeps_them_when_it_grows() {
        let mut ghosts = Ghosts::new();
        ghosts.add(hash(1));
        assert!(!ghosts.take(hash(1)), "there was no room");
        ghosts.make_room(1_000);
        for number in 0..10_000 {
            ghosts.add(hash(number));
        }
        ghosts.make_room(4_000);
        let mut known = |numbers: std::ops::Range<u64>| numbers.filter(|n| ghosts.take(hash(*n))).count();
        let (new, old) = (known(9_500..10_000), known(0..8_000));
        assert!(new > 450, "{new} of the newest 500");
        assert!(old < 100, "{old} of the oldest 8,000");
        assert_eq!(known(9_500..10_000), 0, "those that were taken are forgotten");
    }
}
