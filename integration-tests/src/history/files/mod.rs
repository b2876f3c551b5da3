//! Runs on disk: history and truth as JSON lines, so that a violation can be looked at later, and so that a run may be
//! longer than memory.
//!
//! A folder holds `run.json` (what the judges take for granted), `truth.jsonl`, and the operations in `part-N.jsonl`: one file,
//! or several by shard, each with every operation that touches its shards (see [`Part`]). Values are what the wire has, in
//! base64, with a line for people beside them where it costs nothing that matters.

mod lines;
mod spill;
mod truth_lines;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use tao_schema::graph_schema::GraphSchema;

pub use self::spill::Spill;
use super::judges::{Judges, Living, Part, Rules, home};
use super::operation::{History, Judgement, Operation};
use super::truth::Truth;

/// The form of these files.
const FORMAT: u32 = 1;

/// What `run.json` says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Head {
    format: u32,
    /// Whatever names the run: seed, scenario, fault.
    name: String,
    parts: u16,
    complete: bool,
    lossless: bool,
    /// The graph schema's text.
    schema: String,
}

/// A run on disk.
#[derive(Clone, Debug)]
pub struct RunFiles {
    folder: PathBuf,
    head: Head,
}

impl RunFiles {
    /// Writes a whole run into a folder, which is made.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn save(folder: &Path, name: &str, history: &History, truth: &Truth, rules: &Rules) -> Result<Self> {
        let mut spill = Spill::create(folder, 1, Arc::clone(&rules.schema))?.with_text();
        history.operations.iter().for_each(|operation| spill.take(operation));
        spill.finish(name, truth, rules)
    }

    /// Opens a run that was written.
    ///
    /// # Errors
    /// The folder has no run of this form.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("run.json");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let head: Head =
            serde_json::from_str(&text).with_context(|| format!("understand {}", path.display()))?;
        ensure!(head.format == FORMAT, "{} has form {}, not {FORMAT}", path.display(), head.format);
        ensure!(head.parts > 0, "{} says that there is no part", path.display());
        Ok(Self { folder: folder.to_owned(), head })
    }

    fn write(folder: &Path, head: Head, truth: &Truth) -> Result<Self> {
        let path = folder.join("truth.jsonl");
        let mut file =
            BufWriter::new(File::create(&path).with_context(|| format!("make {}", path.display()))?);
        truth_lines::write(truth, &mut file).with_context(|| format!("write {}", path.display()))?;
        file.flush()?;
        fs::write(folder.join("run.json"), serde_json::to_string_pretty(&head)?)?;
        Ok(Self { folder: folder.to_owned(), head })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What names the run.
    pub fn name(&self) -> &str {
        &self.head.name
    }

    /// Number of parts.
    pub const fn parts(&self) -> u16 {
        self.head.parts
    }

    /// What the judges may take for granted.
    ///
    /// # Errors
    /// The schema can't be parsed.
    pub fn rules(&self) -> Result<Rules> {
        let schema =
            GraphSchema::parse(&self.head.schema, "run.json").context("parse the run's graph schema")?;
        Ok(Rules { schema: Arc::new(schema), complete: self.head.complete, lossless: self.head.lossless })
    }

    /// The logs.
    ///
    /// # Errors
    /// The file can't be read or understood.
    pub fn truth(&self) -> Result<Truth> {
        let mut truth = Truth::new();
        self.each_line("truth.jsonl", |line| truth_lines::read(&mut truth, line))?;
        Ok(truth)
    }

    /// The operations of a part, in the order of their ends.
    ///
    /// # Errors
    /// The file can't be read or understood.
    pub fn operations(&self, part: u16) -> Result<Vec<Operation>> {
        let mut operations = Vec::new();
        self.each_line(&part_name(part), |line| {
            operations.push(lines::read(line)?);
            Ok(())
        })?;
        Ok(operations)
    }

    fn each_line(&self, name: &str, mut take: impl FnMut(&str) -> Result<()>) -> Result<()> {
        let path = self.folder.join(name);
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        for (at, line) in BufReader::new(file).lines().enumerate() {
            let line = line.with_context(|| format!("read {}", path.display()))?;
            take(&line).with_context(|| format!("{} line {}", path.display(), at + 1))?;
        }
        Ok(())
    }

    /// Judges the run, one part in memory at a time, and the liveness of all of it if `living` is given.
    ///
    /// # Errors
    /// A file can't be read or understood.
    pub fn judge(&self, living: Option<Living>) -> Result<Judgement> {
        self.judge_with(&self.truth()?, living)
    }

    /// As [`RunFiles::judge`], with a truth that is in memory already.
    ///
    /// # Errors
    /// A file can't be read or understood.
    pub fn judge_with(&self, truth: &Truth, mut living: Option<Living>) -> Result<Judgement> {
        let rules = self.rules()?;
        let judges = Judges::new(truth, &rules);
        let mut found = judges.log();
        for index in 0..self.head.parts {
            let part = Part { index, parts: self.head.parts };
            let operations = self.operations(index)?;
            found.absorb(judges.operations(&operations, part));
            if let Some(living) = &mut living {
                let own = operations
                    .iter()
                    .filter(|operation| Part::of(home(operation, &rules.schema), self.head.parts) == index);
                own.for_each(|operation| living.add(operation));
            }
        }
        if let Some(living) = living {
            found.absorb(living.judge());
        }
        Ok(found)
    }
}

fn part_name(part: u16) -> String {
    format!("part-{part:03}.jsonl")
}
