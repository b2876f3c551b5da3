//! What is known of each bug: kept in a file, so that a run can go on where another ended, and shown as tables.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::list::Planted;
use super::stage::{Catcher, Stage};

/// Catchers that a table names.
const SHOWN: usize = 3;

/// One bug's result.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// The stage that caught it; `None`: no stage did.
    pub(crate) stage: Option<Stage>,
    pub(crate) catchers: Vec<Catcher>,
    /// Of all stages up to there.
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
    /// Whether every stage had its turn, if none caught it.
    pub(crate) complete: bool,
}

/// The file.
pub(crate) struct Results {
    value: Map<String, Value>,
}

impl Results {
    /// What `file` has; empty if there is none.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self> {
        let text = match file {
            Some(file) if file.exists() => {
                fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?
            }
            _ => "{}".to_owned(),
        };
        let value = serde_json::from_str(&text).context("the file of earlier results is damaged")?;
        Ok(Self { value })
    }

    /// Writes all of it; a run that is cut off keeps what it had.
    pub(crate) fn save(&self, file: Option<&Path>) -> Result<()> {
        let Some(file) = file else { return Ok(()) };
        let text = serde_json::to_string_pretty(&self.value).context("write results")?;
        let new = file.with_extension("new");
        fs::write(&new, text + "\n").with_context(|| format!("write {}", new.display()))?;
        fs::rename(&new, file).with_context(|| format!("write {}", file.display()))
    }

    /// Times of the steps without a bug, of this build.
    pub(crate) fn measured(&self, stamp: &str) -> BTreeMap<String, Duration> {
        let of_build = self.value.get("suite").filter(|suite| suite["build"] == stamp);
        let steps = of_build.and_then(|suite| suite["seconds"].as_object());
        let seconds = |value: &Value| Duration::try_from_secs_f64(value.as_f64()?).ok();
        steps
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), seconds(value)?)))
            .collect()
    }

    /// Keeps the time of a step that was green without a bug.
    pub(crate) fn measure(&mut self, stamp: &str, step: &str, wall: Duration) {
        if self.value.get("suite").is_none_or(|suite| suite["build"] != stamp) {
            self.value.insert("suite".to_owned(), json!({ "build": stamp, "seconds": {} }));
        }
        self.value["suite"]["seconds"][step] = json!(wall.as_secs_f64());
    }

    pub(crate) fn put(&mut self, bug: &Planted, verdict: &Verdict) {
        let bugs = self.value.entry("bugs").or_insert_with(|| json!({}));
        bugs[&bug.name] = json!({
            "caught": verdict.stage.is_some(),
            "complete": verdict.complete,
            "stage": verdict.stage.map(Stage::name),
            "catchers": verdict.catchers.iter().map(Catcher::to_json).collect::<Vec<_>>(),
            "cpu_seconds": (verdict.cpu.as_secs_f64() * 10.0).round() / 10.0,
            "wall_seconds": (verdict.wall.as_secs_f64() * 10.0).round() / 10.0,
        });
    }

    fn of(&self, name: &str) -> Option<&Value> {
        self.value.get("bugs")?.get(name)
    }

    /// Whether an earlier run caught it.
    pub(crate) fn is_caught(&self, name: &str) -> bool {
        self.of(name).is_some_and(|bug| bug["caught"] == true)
    }

    /// The names of those that all stages let pass.
    pub(crate) fn survivors<'a>(&self, bugs: &'a [Planted]) -> Vec<&'a str> {
        let survived = |bug: &&Planted| {
            self.of(&bug.name).is_some_and(|known| known["caught"] == false && known["complete"] == true)
        };
        bugs.iter().filter(survived).map(|bug| bug.name.as_str()).collect()
    }

    /// The table as a document.
    pub(crate) fn markdown(&self, bugs: &[Planted]) -> String {
        let known = |bug: &&Planted| {
            self.of(&bug.name).is_some_and(|bug| bug["complete"] == true || bug["caught"] == true)
        };
        let (run, survivors) = (bugs.iter().filter(known).count(), self.survivors(bugs));
        let mut text = format!(
            "# Planted bugs, and what catches them\n\n\
             Written by `cargo xtask bugs --json FILE --markdown docs/bugs.md`; `docs/tests.md` says how it works. \
             {} bugs can be planted; {run} have been, {} were caught, {} survived.\n\n\
             The stages run from cheap to dear: {}. A row names the first stage that catches the bug, with everything in it \
             that does, and the processor time up to there.\n\n\
             | bug | what is done wrong | caught by | seed | CPU s |\n|---|---|---|---|---|\n",
            bugs.len(),
            run - survivors.len(),
            survivors.len(),
            Stage::ALL.map(Stage::name).join(", "),
        );
        for bug in bugs {
            let [caught, seed, cpu] = self.cells(&bug.name);
            let _infallible = writeln!(text, "| `{}` | {} | {caught} | {seed} | {cpu} |", bug.name, bug.does);
        }
        text
    }

    fn cells(&self, name: &str) -> [String; 3] {
        let Some(bug) = self.of(name) else { return ["not run".to_owned(), String::new(), String::new()] };
        let cpu = format!("{:.0}", bug["cpu_seconds"].as_f64().unwrap_or_default());
        let catchers = bug["catchers"].as_array().map_or(&[][..], Vec::as_slice);
        if catchers.is_empty() {
            let said = if bug["complete"] == true { "**nothing**" } else { "not run to the end" };
            return [said.to_owned(), String::new(), cpu];
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().replace('|', "\\|");
        let mut names: Vec<String> =
            catchers.iter().take(SHOWN).map(|c| format!("`{}`", text(&c["name"]))).collect();
        if catchers.len() > SHOWN {
            names.push(format!("{} more", catchers.len() - SHOWN));
        }
        let seed =
            catchers.iter().map(|c| text(&c["seed"])).find(|seed| !seed.is_empty()).unwrap_or_default();
        [format!("{}: {}", text(&bug["stage"]), names.join(", ")), seed, cpu]
    }
}
