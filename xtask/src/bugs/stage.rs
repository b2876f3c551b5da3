//! The parts of the suite, from cheap to dear, and what each says to a bug.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use serde_json::json;

use super::build::{Kind, Program, Suite};
use super::list::Planted;
use super::process::{Ended, run};
use super::said::{self, Said};

/// Parts of unit tests that start database servers.
const WITH_SERVERS: [&str; 6] =
    ["mysql::tests::", "fleet::", "replication::", "region::tests::", "doctor::tests::", "servers::"];
/// Parts of the integration tests that generate their cases.
const GENERATED: [&str; 2] = ["model::", "fuzz::"];
/// The simulator.
const SIMULATOR: &str = "tao-sim";
/// Catchers that are looked at again without the bug.
const CONFIRMED: usize = 5;

/// A part of the suite.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
pub(crate) enum Stage {
    /// Deterministic simulation, seed after seed.
    Simulation,
    /// Unit tests without a database server.
    Unit,
    /// Unit tests on real servers.
    Servers,
    /// Generated cases against the model, and the bodies of the fuzz targets.
    Model,
    /// Whole regions of processes.
    Integration,
}

/// One program of a stage.
pub(crate) struct Step {
    /// Unique in the suite.
    pub(crate) name: String,
    program: Program,
    arguments: Vec<String>,
}

/// Who caught a bug.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Catcher {
    /// The invariant or test.
    pub(crate) name: String,
    /// The program that it belongs to.
    pub(crate) step: String,
    /// What it said.
    pub(crate) why: String,
    /// With which seed, if with one.
    pub(crate) seed: Option<String>,
}

/// What a step came to.
pub(crate) struct Outcome {
    pub(crate) catchers: Vec<Catcher>,
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
}

impl Stage {
    /// In the order in which they run.
    pub(crate) const ALL: [Self; 5] =
        [Self::Simulation, Self::Unit, Self::Servers, Self::Model, Self::Integration];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Simulation => "simulation",
            Self::Unit => "unit tests",
            Self::Servers => "unit tests on servers",
            Self::Model => "model tests",
            Self::Integration => "integration tests",
        }
    }

    /// What a step takes at most that has never been measured.
    pub(crate) const fn patience(self) -> Duration {
        Duration::from_secs(match self {
            Self::Simulation | Self::Unit => 180,
            Self::Servers | Self::Model => 300,
            Self::Integration => 480,
        })
    }

    /// All its steps.
    pub(crate) fn steps(self, suite: &Suite) -> Vec<Step> {
        suite
            .programs
            .iter()
            .filter(|program| self.has(program))
            .map(|program| self.step(suite, program))
            .collect()
    }

    /// Its steps for a bug: what is closest first, as it is the likeliest to catch it. Unit tests of the modules that the
    /// bug stands in (with servers or without), tests of the crates that it stands in, all others.
    pub(crate) fn steps_for(self, suite: &Suite, bug: &Planted) -> [Vec<Step>; 3] {
        let near = bug.crates();
        let (crates, others): (Vec<Step>, Vec<Step>) =
            self.steps(suite).into_iter().partition(|step| near.contains(step.program.folder.as_str()));
        let mut modules = Vec::new();
        for (folder, names) in bug.modules() {
            let arguments = self.arguments_for(&names);
            if arguments.is_empty() {
                continue;
            }
            let of_crate =
                suite.programs.iter().filter(|program| self.has(program) && program.folder == folder);
            modules.extend(
                of_crate.map(|program| Step { arguments: arguments.clone(), ..self.step(suite, program) }),
            );
        }
        [modules, crates, others]
    }

    fn step(self, suite: &Suite, program: &Program) -> Step {
        Step {
            name: match self {
                Self::Simulation => format!("{}: {} seeds", program.target, suite.seeds),
                _ => format!("{}: {}", self.name(), program.target),
            },
            program: program.clone(),
            arguments: self.arguments(suite.seeds),
        }
    }

    fn has(self, program: &Program) -> bool {
        match self {
            Self::Simulation => program.kind == Kind::Binary && program.target == SIMULATOR,
            Self::Unit | Self::Servers => program.kind == Kind::Unit,
            Self::Model | Self::Integration => program.kind == Kind::Integration,
        }
    }

    /// For the tests of some modules alone; empty: it has none of theirs.
    fn arguments_for(self, modules: &BTreeSet<String>) -> Vec<String> {
        match self {
            Self::Unit => modules.iter().cloned().chain(self.arguments(0)).collect(),
            Self::Servers => {
                let theirs = |part: &&&str| modules.iter().any(|module| part.starts_with(module.as_str()));
                WITH_SERVERS.iter().filter(theirs).map(|part| (*part).to_owned()).collect()
            }
            Self::Simulation | Self::Model | Self::Integration => Vec::new(),
        }
    }

    fn arguments(self, seeds: u64) -> Vec<String> {
        let skip = |parts: &[&str]| {
            parts.iter().flat_map(|part| ["--skip".to_owned(), (*part).to_owned()]).collect()
        };
        let only = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect();
        match self {
            Self::Simulation => {
                vec!["--stop-at-first".to_owned(), "--seeds".to_owned(), format!("1..{}", seeds + 1)]
            }
            Self::Unit => skip(&WITH_SERVERS),
            Self::Servers => only(&WITH_SERVERS),
            Self::Model => only(&GENERATED),
            Self::Integration => skip(&GENERATED),
        }
    }
}

impl Step {
    /// Runs it with a bug, or with none. What fails must fail again, and pass without the bug, else it says nothing about it.
    pub(crate) fn run(
        &self,
        root: &Path,
        suite: &Suite,
        bug: Option<&Planted>,
        limit: Duration,
    ) -> Result<Outcome> {
        let name = bug.map_or("none", |bug| bug.name.as_str());
        let log = suite.logs.join(format!("{name}-{}.txt", self.name.replace([' ', ':'], "-")));
        let ended = run(&mut self.command(root, bug, &self.arguments), &log, limit)?;
        let code = ended.status.and_then(|status| status.code());
        let refused = self.program.kind == Kind::Binary && !matches!(code, None | Some(0 | 1));
        ensure!(!refused, "{}: {}", self.name, said::last_words(&ended.output));
        let (mut cpu, wall) = (ended.cpu, ended.wall);
        let mut catchers = self.judge(root, &ended, limit)?;
        if let Some(bug) = bug
            && self.program.kind != Kind::Binary
        {
            let more;
            (catchers, more) = self.confirmed(root, bug, catchers, (&log, limit))?;
            cpu += more;
        }
        Ok(Outcome { catchers, cpu, wall })
    }

    /// Those of the first few that fail again by themselves, and pass without the bug; and the others, if there is such.
    /// A test that fails now and then on a busy machine would pass without the bug, too.
    fn confirmed(
        &self,
        root: &Path,
        bug: &Planted,
        catchers: Vec<Catcher>,
        (log, limit): (&Path, Duration),
    ) -> Result<(Vec<Catcher>, Duration)> {
        let names: Vec<String> =
            catchers.iter().take(CONFIRMED).map(|catcher| catcher.name.clone()).collect();
        let arguments = [vec!["--exact".to_owned()], names.clone()].concat();
        let mut cpu = Duration::ZERO;
        let mut passed = |bug, kind: &str| -> Result<Vec<String>> {
            if names.is_empty() {
                return Ok(Vec::new());
            }
            // A few tests of many: half the time is plenty.
            let ended = run(&mut self.command(root, bug, &arguments), &log.with_extension(kind), limit / 2)?;
            cpu += ended.cpu;
            Ok(said::read(&ended.output).passed)
        };
        let (with, without) = (passed(Some(bug), "again")?, passed(None, "without")?);
        let (first, others): (Vec<Catcher>, Vec<Catcher>) =
            catchers.into_iter().partition(|catcher| names.contains(&catcher.name));
        let sure = |catcher: &Catcher| !with.contains(&catcher.name) && without.contains(&catcher.name);
        let mut found: Vec<Catcher> = first.into_iter().filter(sure).collect();
        if !found.is_empty() {
            found.extend(others);
        }
        Ok((found, cpu))
    }

    fn command(&self, root: &Path, bug: Option<&Planted>, arguments: &[String]) -> Command {
        let folder = root.join(&self.program.folder);
        let mut command = Command::new(&self.program.path);
        // As under `cargo test`; nothing is written into the sources.
        command.current_dir(&folder).env("CARGO_MANIFEST_DIR", &folder).args(arguments);
        command.env("TAO_REQUIRE_DB", "1").env("RUST_BACKTRACE", "0");
        command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1").env("INSTA_UPDATE", "no");
        command.env("TAO_PLANTED_BUG", bug.map_or("", |bug| bug.name.as_str()));
        command
    }

    fn judge(&self, root: &Path, ended: &Ended, limit: Duration) -> Result<Vec<Catcher>> {
        if self.program.kind == Kind::Binary {
            return Ok(self.simulated(ended));
        }
        let Said { passed, failed } = said::read(&ended.output);
        let catcher = |name: String, why: String, seed| Catcher { name, step: self.name.clone(), why, seed };
        let mut catchers: Vec<Catcher> = failed
            .iter()
            .map(|test| catcher(test.name.clone(), test.why.clone(), test.seed.clone()))
            .collect();
        let why = match ended.status {
            Some(status) if status.success() => return Ok(catchers),
            // Tests that failed are what there is to say.
            Some(status) if status.code() == Some(101) && !failed.is_empty() => return Ok(catchers),
            Some(status) => format!("its program ended with {status}"),
            None => format!("did not end in {} s", limit.as_secs()),
        };
        // Whoever had not ended is to blame.
        let known: BTreeSet<&String> = passed.iter().chain(failed.iter().map(|test| &test.name)).collect();
        let all = self
            .command(root, None, &[self.arguments.clone(), vec!["--list".to_owned()]].concat())
            .output()?;
        let all = said::listed(&String::from_utf8_lossy(&all.stdout));
        catchers.extend(
            all.into_iter().filter(|name| !known.contains(name)).map(|name| catcher(name, why.clone(), None)),
        );
        Ok(catchers)
    }

    /// The simulator says at which seed it ended, and what it found first.
    fn simulated(&self, ended: &Ended) -> Vec<Catcher> {
        // So many seeds are not always done in time: that says nothing.
        let Some(1) = ended.status.and_then(|status| status.code()) else { return Vec::new() };
        let (seed, name, why) = said::simulated(&ended.output);
        vec![Catcher { name, step: self.name.clone(), seed, why }]
    }
}

impl Catcher {
    /// As files keep it.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        json!({ "name": self.name, "step": self.step, "why": self.why, "seed": self.seed })
    }
}
