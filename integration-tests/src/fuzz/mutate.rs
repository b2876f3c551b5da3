//! Inputs by chance: whole ones, changed a little.

use rand::Rng as _;
use rand::rngs::StdRng;

/// Longest input.
const MOST_BYTES: usize = 1 << 16;
/// Bytes that ends and lengths are likely to trip over.
const EDGES: [u8; 10] = [0, 1, 0x7f, 0x80, 0xff, 0x0a, 0x12, 0xfa, 252, 254];

/// Makes inputs from others.
pub struct Mutator {
    random: StdRng,
    corpus: Vec<Vec<u8>>,
    words: &'static [&'static str],
}

impl Mutator {
    /// Of this corpus; without one, all inputs are noise.
    pub fn new(random: StdRng, corpus: Vec<Vec<u8>>, words: &'static [&'static str]) -> Self {
        Self { random, corpus, words }
    }

    /// The next input.
    pub fn input(&mut self) -> Vec<u8> {
        if self.corpus.is_empty() || self.random.random_ratio(1, 20) {
            return self.noise(64);
        }
        let mut input = self.any().clone();
        // One change mostly, seldom many: whole inputs reach further in.
        let changes = 1 + self.random.random_range(0..8_u32) * u32::from(self.random.random_ratio(1, 3));
        for _ in 0..changes {
            self.change(&mut input);
        }
        input.truncate(MOST_BYTES);
        input
    }

    fn any(&mut self) -> &Vec<u8> {
        let at = self.random.random_range(0..self.corpus.len());
        &self.corpus[at]
    }

    fn noise(&mut self, most: usize) -> Vec<u8> {
        let length = self.random.random_range(0..=most);
        (0..length).map(|_| self.random.random()).collect()
    }

    /// A part of the input: where it begins and ends.
    fn part(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.random.random_range(0..=length);
        let most = if self.random.random_ratio(3, 4) { 16 } else { length };
        start..(start + self.random.random_range(0..=most)).min(length)
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let place = self.random.random_range(0..=input.len());
        let within = place.min(input.len().saturating_sub(1));
        match self.random.random_range(0..10_u8) {
            0 if !input.is_empty() => input[within] ^= 1 << self.random.random_range(0..8),
            1 if !input.is_empty() => input[within] = EDGES[self.random.random_range(0..EDGES.len())],
            2 if !input.is_empty() => {
                input[within] = input[within].wrapping_add(self.random.random_range(0..3));
            }
            3 => input.truncate(place),
            4 => drop(input.drain(self.part(input.len()))),
            5 => {
                let part = input[self.part(input.len())].to_vec();
                drop(input.splice(place..place, part));
            }
            6 => {
                // A part of another input.
                let other = self.any().clone();
                let part = other[self.part(other.len())].to_vec();
                let over = if self.random.random() { part.len() } else { 0 };
                drop(input.splice(place..(place + over).min(input.len()), part));
            }
            7 if !self.words.is_empty() => {
                let word = self.words[self.random.random_range(0..self.words.len())];
                let over = if self.random.random() { word.len() } else { 0 };
                drop(input.splice(place..(place + over).min(input.len()), word.bytes()));
            }
            8 => {
                let number: u64 = self.random.random::<u64>() >> self.random.random_range(0..64);
                let bytes = number.to_le_bytes();
                let width = [1, 2, 4, 8][self.random.random_range(0..4)];
                drop(input.splice(place..(place + width).min(input.len()), bytes[..width].iter().copied()));
            }
            _ => {
                let noise = self.noise(8);
                drop(input.splice(place..place, noise));
            }
        }
    }
}
