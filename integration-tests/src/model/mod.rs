//! Conformance to a model: cases by chance, of the whole API, through the SDK, against a cluster that runs; every answer
//! is held against a plain graph in memory that shares no code with what it judges.
//!
//! It can be run against any cluster: with ids of its own, that nobody has used, it neither needs an empty one nor disturbs
//! what is there (what it writes stays). The graph schema may be any; `graph.toml` ([`SCHEMA`]) is made for this.
//!
//! | module | is |
//! |---|---|
//! | `steps` | calls with names for ids; what is shrunk and printed |
//! | `strategy` | steps by chance (a proptest state machine) |
//! | `rules`, `graph`, `draft` | the model: what is refused always; what the graph holds, and what follows for each answer |
//! | `worlds` | calls that overlapped: the graphs that explain their answers in some order |
//! | `player`, `calls` | one run of one case |
//!
//! # What is judged
//! Contents, order, counts, versions, effects and refusals, exactly. Two users take turns; what one has seen is told to the
//! other before his turn ([`tao_client::SessionClient::merge`]), so every read must show everything that was acknowledged
//! before it, by whichever consistency. Where calls overlap (a batch, two users at once), some order of them must explain
//! every answer, and the writes of a shard must stand in it in the order of their positions; if several do, all are kept in
//! mind until later answers decide. The other side of a pair that an answer calls pending must follow.

mod calls;
mod draft;
mod graph;
mod player;
mod print;
mod rules;
mod soak;
mod steps;
mod strategy;
mod worlds;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use serde::Serialize;
use tao_client::{Client, Options};
use tao_schema::ids::{ObjectId, ShardId};
use tokio::runtime::Handle;

pub use self::player::Tally;
use self::player::{End, Player};
use self::rules::Rules;
pub use self::soak::{On, soak};
use self::steps::{ALLOCATED, CHOSEN, Ids, Step};
use self::strategy::Vocabulary;

/// A graph schema with every kind of association and limits that a case reaches: for clusters started for this.
pub const SCHEMA: &str = include_str!("graph.toml");

/// Runs of a failing case while it is made shorter.
const SHRINKS: u32 = 1_500;
/// Part of cases that may end undecided, on a cluster that nothing is done to.
const MOST_UNDECIDED: f64 = 0.01;

/// What a run is.
#[derive(Clone, Debug)]
pub struct ModelOptions {
    /// Addresses of some followers of the cluster.
    pub cluster: Vec<String>,
    /// Where all randomness starts, ids aside.
    pub seed: u64,
    /// Cases, unless time is over before; `None`: as many as there is time for.
    pub cases: Option<u64>,
    /// Longest time.
    pub time: Duration,
    /// Steps of a case at most.
    pub steps: usize,
    /// Cases at a time.
    pub lanes: usize,
    /// Only this case of the seed: to see a failure again.
    pub only: Option<u64>,
}

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// See [`ModelOptions::seed`].
    pub seed: u64,
    /// Cases that were judged to their end.
    pub cases: u64,
    /// Cases that ended early because somebody could not be reached in time: not judged.
    pub undecided: u64,
    /// What one of them ran into.
    pub undecided_because: Option<String>,
    /// What the cases did.
    pub tally: Tally,
    /// Time of the run.
    pub seconds: f64,
    /// The first case that the model does not explain.
    pub failure: Option<Failure>,
}

/// A case that the model does not explain, as short as it could be made.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// Which case of the seed.
    pub case: u64,
    /// What is wrong, and the calls that lead there, with their answers.
    pub story: String,
}

/// What the lanes of a run share.
struct Shared {
    options: ModelOptions,
    clients: [Client; 2],
    rules: Rules,
    vocabulary: Vocabulary,
    /// Numbers for ids.
    names: AtomicU32,
    next_case: AtomicU64,
    stop: AtomicBool,
    started: Instant,
    sums: Mutex<Sums>,
}

#[derive(Default)]
struct Sums {
    cases: u64,
    undecided: u64,
    undecided_because: Option<String>,
    tally: Tally,
    failure: Option<Failure>,
}

impl ModelOptions {
    /// 30 s of cases of up to 24 steps, in two lanes.
    pub fn new(cluster: impl IntoIterator<Item = String>, seed: u64) -> Self {
        let (cluster, time) = (cluster.into_iter().collect(), Duration::from_secs(30));
        Self { cluster, seed, cases: None, time, steps: 24, lanes: 2, only: None }
    }
}

impl Report {
    /// Fails unless cases were judged, nearly all of them, and all found right.
    ///
    /// # Errors
    /// The failure with how to see it again; or why the run shows nothing.
    pub fn verdict(&self) -> Result<()> {
        if let Some(Failure { case, story }) = &self.failure {
            anyhow::bail!("{story}\nagain: seed {}, only case {case}", self.seed);
        }
        anyhow::ensure!(self.cases > 0, "no case was judged: {:?}", self.undecided_because);
        let undecided = self.undecided as f64 / (self.cases + self.undecided) as f64;
        let why = self.undecided_because.as_deref().unwrap_or_default();
        anyhow::ensure!(undecided <= MOST_UNDECIDED, "{} cases were not judged: {why}", self.undecided);
        Ok(())
    }
}

/// Runs cases against a cluster until time, cases or the first failure end it.
///
/// # Errors
/// The cluster can't be reached. What is found wrong is in the report.
pub async fn run(options: ModelOptions) -> Result<Report> {
    let connect = async || Client::connect(Options::new(options.cluster.clone())).await;
    let clients = [connect().await.context("a first client")?, connect().await.context("a second client")?];
    let schema = clients[0].schema();
    let shared = Arc::new(Shared {
        vocabulary: Vocabulary::of(&schema),
        rules: Rules { schema, shards: clients[0].topology().shards },
        clients,
        names: AtomicU32::new(rand::random()),
        next_case: AtomicU64::new(options.only.unwrap_or(0)),
        stop: AtomicBool::new(false),
        started: Instant::now(),
        sums: Mutex::new(Sums::default()),
        options,
    });
    let lanes = if shared.options.only.is_some() { 1 } else { shared.options.lanes.max(1) };
    let runtime = Handle::current();
    let lanes: Vec<_> = (0..lanes)
        .map(|_| {
            let (shared, runtime) = (Arc::clone(&shared), runtime.clone());
            // Proptest runs and shrinks cases one call after the other.
            tokio::task::spawn_blocking(move || shared.lane(&runtime))
        })
        .collect();
    for lane in lanes {
        lane.await.context("a lane of the model")?;
    }
    let sums = std::mem::take(&mut *shared.sums.lock());
    Ok(Report {
        seed: shared.options.seed,
        cases: sums.cases,
        undecided: sums.undecided,
        undecided_because: sums.undecided_because,
        tally: sums.tally,
        seconds: shared.started.elapsed().as_secs_f64(),
        failure: sums.failure,
    })
}

impl Shared {
    fn lane(&self, runtime: &Handle) {
        let last = self.options.only.map_or(self.options.cases, |only| Some(only + 1)).unwrap_or(u64::MAX);
        while !self.stop.load(Ordering::Relaxed) && self.started.elapsed() < self.options.time {
            let case = self.next_case.fetch_add(1, Ordering::Relaxed);
            if case >= last {
                return;
            }
            self.case(runtime, case);
        }
    }

    fn case(&self, runtime: &Handle, case: u64) {
        let config =
            Config { cases: 1, failure_persistence: None, max_shrink_iters: SHRINKS, ..Config::default() };
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.options.seed.to_le_bytes());
        seed[8..16].copy_from_slice(&case.to_le_bytes());
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
        let outcome = runner.run(&self.vocabulary.cases(self.options.steps), |(_, steps, seen)| {
            runtime.block_on(self.play(case, &steps, seen.as_deref())).map_err(TestCaseError::fail)
        });
        let story = match outcome {
            Ok(()) => return,
            Err(TestError::Fail(story, _)) => story.message().to_owned(),
            Err(TestError::Abort(why)) => format!("no case could be made: {why}"),
        };
        self.stop.store(true, Ordering::Relaxed);
        self.sums.lock().failure.get_or_insert(Failure { case, story });
    }

    /// One run of one case, with ids that nobody has used. Fails with its story.
    async fn play(
        &self,
        case: u64,
        steps: &[Step],
        seen: Option<&std::sync::atomic::AtomicUsize>,
    ) -> std::result::Result<(), String> {
        let mut player = Player::new(&self.clients, &self.rules, self.ids(case));
        let ended = async {
            for step in steps {
                // Tells proptest which steps can't have to do with a failure.
                if let Some(seen) = seen {
                    seen.fetch_add(1, Ordering::SeqCst);
                }
                player.step(step).await?;
            }
            player.read_all().await
        };
        let ended = ended.await;
        let mut sums = self.sums.lock();
        match ended {
            Ok(()) => {
                sums.cases += 1;
                sums.tally.add(&player.tally);
                Ok(())
            }
            Err(End::Undecided(why)) => {
                sums.undecided += 1;
                sums.undecided_because = Some(format!("{why}\n{}", player.transcript));
                Ok(())
            }
            Err(End::Wrong(why)) => {
                Err(format!("{why}\n\n{}\n// the last answer is wrong: {why}", player.transcript.trim_end()))
            }
        }
    }

    /// Fresh ids on shards that depend on the case alone: four neighbours, and two apart.
    fn ids(&self, case: u64) -> Ids {
        let shards = self.rules.shards;
        let mixed = (case ^ self.options.seed.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let shard = |at: u64| ShardId((mixed.rotate_left(at as u32 * 16) % u64::from(shards)) as u16);
        let mut chosen = [ObjectId(0); CHOSEN as usize];
        for (at, id) in (0..).zip(&mut chosen) {
            let wanted = match at {
                4 => shard(1),
                5 => shard(2),
                _ => shard(0),
            };
            *id = loop {
                let number = self.names.fetch_add(1, Ordering::Relaxed);
                let id = ObjectId::named(self.vocabulary.type_of(at), number, shards);
                if id.shard() == wanted {
                    break id;
                }
            };
        }
        // Where every shard exists there is none that does not; then it is just another id.
        let nowhere = ObjectId::new(ShardId(u16::MAX), chosen[0].local());
        Ids { chosen, allocated: [None; ALLOCATED as usize], nowhere }
    }
}
