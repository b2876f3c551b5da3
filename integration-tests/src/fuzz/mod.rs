//! Fuzz targets: everything that reads bytes from outside, as functions of bytes that panic if a property does not hold.
//!
//! Each body is run in two ways. On stable, by the seeded mutator here ([`run`]): briefly as a test, longer by
//! `cargo xtask soak --scenario fuzz`. Under libFuzzer, which follows coverage, by the folder `fuzz/` at the root.
//!
//! The properties are more than "no panic": what is accepted comes back the same from its own encoding, answers equal
//! those of a naive reading, what is decoded is not larger than its input allows, and what is signed can't be changed.

pub mod binlog;
pub mod edges;
pub mod fields;
mod input;
mod mutate;
pub mod texts;
pub mod tokens;
pub mod wire;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::Serialize;

pub use self::mutate::Mutator;

/// A reader of bytes, with what its inputs look like.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, as in `fuzz/fuzz_targets`.
    pub name: &'static str,
    /// Panics if a property does not hold.
    pub body: fn(&[u8]),
    /// Whole inputs, to change.
    pub corpus: fn() -> Vec<Vec<u8>>,
    /// Parts that inputs are made of.
    pub words: &'static [&'static str],
}

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The target.
    pub target: &'static str,
    /// Where its randomness started.
    pub seed: u64,
    /// Inputs tried.
    pub inputs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long that took.
    pub seconds: f64,
    /// The first input that broke a property.
    pub crash: Option<Crash>,
}

/// An input that breaks a property.
#[derive(Clone, Debug, Serialize)]
pub struct Crash {
    /// What the panic said.
    pub message: String,
    /// The input as hexadecimal digits, made shorter as long as it still breaks something.
    pub input: String,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    wire::REQUESTS,
    wire::REPLIES,
    wire::STREAM,
    tokens::SESSIONS,
    tokens::COOKIES,
    texts::GRAPH_SCHEMA,
    texts::TOPOLOGY,
    binlog::BINLOG,
    edges::EDGE_LISTS,
    edges::LIST_QUERIES,
    fields::FIELDS,
];

/// Tries inputs on a target until the time is over or one breaks a property: first the corpus itself, then what the
/// mutator makes of it. The same seed makes the same inputs.
pub fn run(target: &Target, seed: u64, time: Duration) -> Report {
    let started = Instant::now();
    let corpus = (target.corpus)();
    let mut mutator = Mutator::new(StdRng::seed_from_u64(seed), corpus.clone(), target.words);
    let mut report = Report { target: target.name, seed, inputs: 0, bytes: 0, seconds: 0.0, crash: None };
    let mut whole = corpus.into_iter();
    while started.elapsed() < time || whole.len() > 0 {
        let input = whole.next().unwrap_or_else(|| mutator.input());
        report.inputs += 1;
        report.bytes += input.len() as u64;
        if let Some(message) = breaks(target, &input) {
            report.crash = Some(shortest(target, input, message));
            break;
        }
    }
    report.seconds = started.elapsed().as_secs_f64();
    report
}

/// Every target for an equal part of the time.
pub fn soak(seed: u64, time: Duration) -> Vec<Report> {
    let each = time / u32::try_from(TARGETS.len()).unwrap_or(1);
    TARGETS.iter().map(|target| run(target, seed, each)).collect()
}

/// What the panic says, if the input breaks a property.
fn breaks(target: &Target, input: &[u8]) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(|| (target.body)(input))).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    Some(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
}

/// Leaves out what does not matter, a half, a quarter, ... of the input at a time.
fn shortest(target: &Target, mut input: Vec<u8>, mut message: String) -> Crash {
    let mut part = input.len() / 2;
    while part > 0 {
        let mut at = 0;
        while at < input.len() {
            let mut shorter = input.clone();
            shorter.drain(at..(at + part).min(input.len()));
            match breaks(target, &shorter) {
                Some(said) => (input, message) = (shorter, said),
                None => at += part,
            }
        }
        part /= 2;
    }
    Crash { message, input: input.iter().map(|byte| format!("{byte:02x}")).collect() }
}

/// A seed by chance, for who does not choose one.
pub fn any_seed() -> u64 {
    rand::rng().random()
}
