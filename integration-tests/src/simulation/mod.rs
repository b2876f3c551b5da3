//! The whole tier in one thread, with time that nobody waits for: leaders and followers as they are, on memory
//! databases, with a network between everything that delays, loses, cuts and stops; judged by [`crate::history`].
//!
//! A run is made from one seed. The same seed does the same things in the same order: [`Outcome::hash`] says so.

mod databases;
mod faults;
mod large;
mod moves;
mod network;
mod peers;
mod plan;
mod promotion;
mod quiet;
mod trace;
mod users;
mod work;
mod world;

use std::cell::RefCell;
use std::time::Duration;

use tokio::time::Instant;

use self::faults::Faults;
pub use self::large::{Costs, Size, costs};
use self::network::Network;
pub use self::plan::Plan;
use self::trace::Trace;
use self::users::{Notes, User};
use self::world::World;
use crate::history::Judgement;

/// What came of a run.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Of everything that happened.
    pub hash: u64,
    /// Events that the hash is made of.
    pub events: u64,
    /// Time that went by in the run.
    pub simulated: Duration,
    /// Calls of users.
    pub operations: u64,
    /// Of these, how many were answered.
    pub answered: u64,
    /// Faults.
    pub faults: u64,
    /// Panics of any task: each is a finding.
    pub panics: Vec<String>,
    /// What the judges say.
    pub judgement: Judgement,
}

impl Outcome {
    /// Whether nothing is wrong.
    pub fn is_right(&self) -> bool {
        self.panics.is_empty() && self.judgement.is_clean()
    }
}

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Makes panics of a run's tasks known to [`run`], which tokio only hands to whoever waits for the task. Once in a
/// program.
pub fn note_panics() {
    std::panic::set_hook(Box::new(|info| PANICS.with_borrow_mut(|panics| panics.push(info.to_string()))));
}

/// Runs one seed on this thread, busy for `seconds` of simulated time. `readable`: tells of each event through `tracing`.
///
/// # Panics
/// Only if the runtime can't be made.
pub fn run(seed: u64, seconds: u64, readable: bool) -> Outcome {
    PANICS.take();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing from the system");
    let mut outcome = runtime.block_on(simulate(Plan::of(seed, seconds), readable));
    outcome.panics = PANICS.take();
    outcome
}

async fn simulate(plan: Plan, readable: bool) -> Outcome {
    let trace = Trace::new(readable);
    trace.event("plan", &[plan.seed], || format!("{plan:#?}"));
    let network = Network::new(plan.seed, plan.distances, trace.clone());
    let world = World::start(plan, network).await;
    let notes = Notes::default();
    let until = Instant::now() + world.plan.busy;
    let mut users = tokio::task::JoinSet::new();
    for number in 1..=world.plan.users * world.plan.regions {
        let region = (number % world.plan.regions) as u16;
        users.spawn(User::new(&world, &notes, number as u32, region).work(until));
    }
    let faults = Faults::new(&world).run(until).await;
    while users.join_next().await.is_some() {}
    let judgement = quiet::verdict(&world, &notes, Instant::now() + world.plan.quiet).await;
    let operations = std::mem::take(&mut *notes.lock());
    let answered = operations.iter().filter(|operation| operation.result.is_ok()).count() as u64;
    let (hash, events) = trace.hash();
    Outcome {
        seed: world.plan.seed,
        hash,
        events,
        simulated: trace.elapsed(),
        operations: operations.len() as u64,
        answered,
        faults,
        panics: Vec::new(),
        judgement,
    }
}
