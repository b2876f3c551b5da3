//! `cargo xtask bugs`: plants one bug after the other, and looks whether the suite finds it.
//!
//! The suite is built once with all bugs in it, each switched on by an environment variable. It must be green with none
//! switched on. Then each bug meets the stages of the suite, from cheap to dear, until one catches it: a test that fails,
//! or does not end in several times its usual time; that does so again when run by itself; and that passes without the bug. A
//! bug that all stages let pass is a finding about the suite.

mod build;
mod list;
mod process;
mod results;
mod said;
mod stage;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use build::Suite;
use list::Planted;
use results::{Results, Verdict};
use stage::{Outcome, Stage, Step};

/// A step may take so many times as long as without a bug, and this more: a bug that makes it hang is caught by that.
const PATIENCE: (u32, Duration) = (4, Duration::from_secs(45));
/// Processor time that one bug may cost; no further stage is begun after it.
const CPU_LIMIT: Duration = Duration::from_secs(600);

/// What to plant, and where to write what came of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only this bug; several times for several.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Only this stage; several times for several. A bug that passes is not called a survivor then.
    #[arg(long, value_name = "STAGE")]
    stage: Vec<Stage>,
    /// Seeds that the simulator is given.
    #[arg(long, default_value_t = 40)]
    seeds: u64,
    /// Results are kept here, after each bug; those of other bugs stay.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// With --json: bugs that the file says are caught are left out.
    #[arg(long, requires = "json")]
    resume: bool,
    /// Writes the table of all results as a document.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Lists the bugs and the crates that they stand in; builds and runs nothing.
    #[arg(long)]
    list: bool,
}

/// One run.
struct Run<'a> {
    root: &'a Path,
    suite: Suite,
    stages: Vec<Stage>,
    /// Times of the steps without a bug.
    usual: BTreeMap<String, Duration>,
}

pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let bugs = list::read(root)?;
    if options.list {
        for bug in &bugs {
            println!("{:32} {}", bug.name, Vec::from_iter(bug.crates()).join(", "));
        }
        return Ok(());
    }
    let unknown = options.only.iter().find(|name| bugs.iter().all(|bug| bug.name != **name));
    ensure!(unknown.is_none(), "{unknown:?}: no such bug; --list names them");
    let mut results = Results::load(options.json.as_deref())?;
    let chosen: Vec<&Planted> = bugs
        .iter()
        .filter(|bug| options.only.is_empty() || options.only.contains(&bug.name))
        .filter(|bug| !(options.resume && results.is_caught(&bug.name)))
        .collect();
    println!("=== build, with the bugs in it");
    let suite = build::build(root, options.seeds)?;
    let all = options.stage.is_empty();
    let stages = Stage::ALL.into_iter().filter(|stage| all || options.stage.contains(stage)).collect();
    let mut run = Run { root, usual: results.measured(&suite.stamp), suite, stages };
    println!("\n=== without a bug");
    run.without_a_bug(&mut results, options.json.as_deref())?;
    println!("\n=== {} bugs", chosen.len());
    for (at, bug) in chosen.iter().enumerate() {
        println!("[{}/{}] {}: {}", at + 1, chosen.len(), bug.name, bug.does);
        let mut verdict = run.plant(bug)?;
        verdict.complete = all;
        verdict.print();
        results.put(bug, &verdict);
        results.save(options.json.as_deref())?;
    }
    if let Some(file) = &options.markdown {
        fs::write(file, results.markdown(&bugs)).with_context(|| format!("write {}", file.display()))?;
    }
    let survivors = results.survivors(&bugs);
    let caught = bugs.iter().filter(|bug| results.is_caught(&bug.name)).count();
    println!("\n{} bugs can be planted; {caught} are known to be caught", bugs.len());
    if !survivors.is_empty() {
        bail!("the suite let {} bugs pass: {}", survivors.len(), survivors.join(", "));
    }
    Ok(())
}

impl Run<'_> {
    /// The suite must be green before it can say anything; its times are what the bugs' are measured by.
    fn without_a_bug(&mut self, results: &mut Results, file: Option<&Path>) -> Result<()> {
        for empty in self.stages.iter().filter(|stage| stage.steps(&self.suite).is_empty()) {
            println!("  {} has no program", empty.name());
        }
        for (stage, step) in self.steps() {
            if self.usual.contains_key(&step.name) {
                continue;
            }
            let Outcome { catchers, cpu, wall } = step.run(self.root, &self.suite, None, stage.patience())?;
            println!(
                "  {:60} {:4.0} s, {:4.0} s of processor time",
                step.name,
                wall.as_secs_f64(),
                cpu.as_secs_f64()
            );
            if let Some(first) = catchers.first() {
                bail!("{}: {} fails without a bug: {}", step.name, first.name, first.why);
            }
            results.measure(&self.suite.stamp, &step.name, wall);
            results.save(file)?;
            self.usual.insert(step.name.clone(), wall);
        }
        Ok(())
    }

    /// Shows a bug to the stages until one catches it.
    fn plant(&self, bug: &Planted) -> Result<Verdict> {
        let mut verdict = Verdict::default();
        for stage in &self.stages {
            for steps in stage.steps_for(&self.suite, bug) {
                for step in steps {
                    let patience = |usual: &Duration| *usual * PATIENCE.0 + PATIENCE.1;
                    let limit = self.usual.get(&step.name).map_or(stage.patience(), patience);
                    verdict.add(step.run(self.root, &self.suite, Some(bug), limit)?);
                }
                if !verdict.catchers.is_empty() {
                    verdict.stage = Some(*stage);
                    return Ok(verdict);
                }
            }
            if verdict.cpu > CPU_LIMIT {
                println!("  no more than {} s of processor time are spent", CPU_LIMIT.as_secs());
                break;
            }
        }
        Ok(verdict)
    }

    fn steps(&self) -> Vec<(Stage, Step)> {
        let of_stage = |stage: &Stage| {
            let steps = stage.steps(&self.suite);
            steps.into_iter().map(|step| (*stage, step)).collect::<Vec<_>>()
        };
        self.stages.iter().flat_map(of_stage).collect()
    }
}

impl Verdict {
    fn add(&mut self, outcome: Outcome) {
        self.cpu += outcome.cpu;
        self.wall += outcome.wall;
        self.catchers.extend(outcome.catchers);
    }

    /// For whoever watches.
    fn print(&self) {
        for catcher in &self.catchers {
            let seed = catcher.seed.as_ref().map_or(String::new(), |seed| format!(" (seed {seed})"));
            println!("    {} | {}{seed}: {}", catcher.step, catcher.name, catcher.why);
        }
        let cpu = self.cpu.as_secs_f64();
        match self.stage {
            Some(stage) => println!("  caught by {}, {cpu:.0} s of processor time", stage.name()),
            None => println!("  NOT CAUGHT, {cpu:.0} s of processor time"),
        }
    }
}
