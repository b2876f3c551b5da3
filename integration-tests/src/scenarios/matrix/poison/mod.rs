//! What nobody should send, or store. Each poison knows what must come of it, and says so if it does not.

mod frames;
mod great_list;
mod store;
mod tokens;

use std::time::Duration;

use anyhow::Result;

use super::cell::Poison;
use crate::history::Invariant;
use crate::regions::Regions;
use crate::soak::Door;

/// What a poison needs.
pub(super) struct Ground<'a> {
    pub(super) cluster: &'a Regions,
    pub(super) doors: &'a [Door],
    /// Different in each run on one cluster.
    pub(super) number: u32,
    pub(super) seed: u64,
}

/// What was done and found.
#[derive(Default)]
pub(super) struct Outcome {
    /// Single poisons that were given.
    pub(super) injected: u64,
    /// Answers that were looked at, by the invariant that they belong to.
    pub(super) checked: Vec<(Invariant, u64)>,
    /// What must not be.
    pub(super) wrong: Vec<(Invariant, String)>,
}

impl Outcome {
    fn wrong(&mut self, invariant: Invariant, text: String) {
        self.wrong.push((invariant, text));
    }
}

/// Gives the poison, and takes away what it left behind.
pub(super) async fn give(poison: Poison, ground: &Ground<'_>, hold: Duration) -> Result<Outcome> {
    match poison {
        Poison::ForgedTokens => tokens::give(ground, hold).await,
        Poison::BadFrames => frames::give(ground, hold).await,
        Poison::GreatList => great_list::give(ground).await,
        Poison::RowWithoutVersion => store::row_without_version(ground, hold).await,
        Poison::Definition => store::definition(ground, hold).await,
    }
}
