//! What an observation tells: figures, findings, and how people and programs read them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::{Value, json};
use tao_schema::ids::Position;
use tao_schema::ops::Source;

use super::item::Seen;
use super::looks::Look;
use super::observer::{Observer, Sample};
use super::tally::{Counts, Role, Target, Verdict, age_name, grouped};
use crate::output::Table;

/// Findings that are told one by one; more are only counted.
const LISTED: usize = 100;

/// What a look found, to be verified.
#[derive(Clone, PartialEq, Debug)]
pub struct Suspicion {
    /// Stale or wrong.
    pub verdict: Verdict,
    /// In words.
    pub why: String,
    /// The answer.
    pub seen: Seen,
    /// Whether it came from the node's own memory.
    pub from_memory: bool,
}

/// An inconsistency.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The object or list.
    pub item: String,
    /// Where.
    pub region: String,
    /// What was asked there.
    pub role: Role,
    /// Its name.
    pub node: String,
    /// `stale`, or `wrong`: the answer contradicts the log at the position that it claims.
    pub verdict: &'static str,
    /// In words.
    pub why: String,
    /// Age of the change when this was seen.
    pub age: String,
    /// Where the change stands.
    pub change: String,
    /// Since when the primary shows it, by this machine's clock.
    pub since: Option<String>,
    /// What the node's answer claimed to be right at.
    pub answered: String,
    /// Who had that answer, and by which rule it was fresh enough.
    pub answered_by: String,
    /// Where a read that the primary proved stood afterwards.
    pub proved: Option<String>,
    /// What else is to be said.
    pub note: Option<String>,
}

/// All inconsistencies.
#[derive(Debug, Default)]
pub struct Findings {
    started: Option<SystemTime>,
    ages: Vec<Duration>,
    total: u64,
    listed: Vec<Finding>,
    /// The last error of each target.
    errors: BTreeMap<Arc<Target>, String>,
}

/// The state of one log.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LogLine {
    /// Number of the host group.
    pub host_group: u16,
    /// Region and address of its primary.
    pub primary: String,
    /// Whether its log is followed.
    pub following: bool,
    /// What keeps it from being so.
    pub error: Option<String>,
}

/// What is told, at the end and in between.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Since the start.
    pub seconds: f64,
    /// Items that changed.
    pub changes: u64,
    /// Of these, chosen and looked at.
    pub samples: u64,
    /// Of these, given up: lost by a promotion, or with the log.
    pub void: u64,
    /// Still under observation.
    pub watched: usize,
    /// By age, over all nodes.
    pub ages: Vec<Line>,
    /// By node and age.
    pub nodes: Vec<Line>,
    /// Why looks are unknown.
    pub unknown: BTreeMap<&'static str, u64>,
    /// Nodes that failed to answer, and how.
    pub errors: BTreeMap<String, String>,
    /// The logs.
    pub logs: Vec<LogLine>,
    /// Stale at the last age, or wrong at any.
    pub inconsistency_count: u64,
    /// The first hundred of them.
    pub inconsistencies: Vec<Finding>,
}

/// Figures of one age, perhaps of one node.
#[derive(Debug, Serialize)]
pub struct Line {
    /// Age.
    pub age: String,
    /// Region, role and name; none: of all nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// See `region`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// See `region`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// N: looks that could be judged.
    pub judged: u64,
    /// The counts.
    #[serde(flatten)]
    pub counts: Counts,
    /// Of those judged, the part that was consistent.
    pub consistency: Option<f64>,
    /// If nothing else was seen: the rest is below this, at 95 % confidence.
    pub inconsistent_below: Option<f64>,
    /// Nines: measured, or if nothing else was seen, proved at 95 %.
    pub nines: Option<f64>,
}

impl Findings {
    /// Times of day count from here; looks are made at these ages.
    pub fn start(&mut self, now: SystemTime, ages: &[Duration]) {
        self.started = Some(now);
        self.ages = ages.to_vec();
    }

    /// A node did not answer.
    pub fn failed(&mut self, target: &Arc<Target>, error: String) {
        self.errors.insert(Arc::clone(target), error);
    }

    /// An inconsistency, and what the primary says of it.
    pub(super) fn add(
        &mut self,
        look: &Look,
        sample: &Sample,
        suspicion: &Suspicion,
        proof: Result<Option<Position>, &str>,
    ) {
        self.total += 1;
        if self.listed.len() >= LISTED {
            return;
        }
        let clock = |at: Duration| {
            let time = self.started?.checked_add(at)?;
            Some(humantime::format_rfc3339_millis(time).to_string())
        };
        let age = self.ages.get(look.age).copied().unwrap_or_default();
        let Suspicion { verdict, why, seen, .. } = suspicion;
        self.listed.push(Finding {
            item: look.key.to_string(),
            region: look.target.region.clone(),
            role: look.target.role,
            node: look.target.node.clone(),
            verdict: verdict.name(),
            why: why.clone(),
            age: age_name(age),
            change: sample.position.to_string(),
            since: sample.shown.and_then(clock),
            answered: seen.position.to_string(),
            answered_by: answered_by(seen),
            proved: proof.ok().flatten().map(|position| position.to_string()),
            note: proof.err().map(str::to_owned),
        });
    }
}

fn answered_by(seen: &Seen) -> String {
    let who = match seen.source {
        Some(Source::FollowerCache) => "a follower's memory",
        Some(Source::LeaderCache) => "a leader's memory",
        Some(Source::Database) => "the database",
        None => "not told",
    };
    if seen.rule.is_empty() { who.to_owned() } else { format!("{who} ({})", seen.rule) }
}

impl Line {
    fn new(age: &str, counts: Counts) -> Self {
        let judged = counts.judged();
        Self {
            age: age.to_owned(),
            region: None,
            role: None,
            node: None,
            judged,
            counts,
            consistency: (judged > 0).then(|| counts.consistent as f64 / judged as f64),
            inconsistent_below: counts.below(),
            nines: counts.nines(),
        }
    }
}

impl Report {
    /// What is known now.
    pub fn of(observer: &Observer, logs: Vec<LogLine>, seconds: f64) -> Self {
        let ages: Vec<String> = observer.rules.ages.iter().map(|age| age_name(*age)).collect();
        let name = |age: usize| ages.get(age).map(String::as_str).unwrap_or_default();
        let nodes = observer.tally.iter().map(|(target, age, counts)| Line {
            region: Some(target.region.clone()),
            role: Some(target.role),
            node: Some(target.node.clone()),
            ..Line::new(name(age), *counts)
        });
        let groups: Vec<_> = observer.groups().map(|(_, counts)| counts).collect();
        let errors = observer.findings.errors.iter();
        Self {
            seconds,
            changes: groups.iter().map(|counts| counts.changes).sum(),
            samples: groups.iter().map(|counts| counts.samples).sum(),
            void: groups.iter().map(|counts| counts.void).sum(),
            watched: observer.watched(),
            ages: (0..ages.len()).map(|age| Line::new(name(age), observer.tally.at(age))).collect(),
            nodes: nodes.collect(),
            unknown: observer.tally.reasons().clone(),
            errors: errors
                .map(|(target, error)| (format!("{} {}", target.region, target.node), error.clone()))
                .collect(),
            logs,
            inconsistency_count: observer.findings.total,
            inconsistencies: observer.findings.listed.clone(),
        }
    }

    /// Whether something was judged at the last age: else nothing is known.
    pub fn judged(&self) -> bool {
        self.ages.last().is_some_and(|line| line.judged > 0)
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let columns =
            ["region", "role", "node", "age", "consistent", "n", "stale", "wrong", "unknown", "from_memory"];
        let mut table = Table::new(&columns);
        for line in &self.nodes {
            let Counts { stale, wrong, unknown, from_memory, .. } = line.counts;
            let mut row = vec![json!(line.region), json!(line.role), json!(line.node), json!(line.age)];
            row.push(json!(line.counts.percent()));
            row.extend(
                [line.judged, stale, wrong, unknown, from_memory].map(|figure| json!(grouped(figure))),
            );
            table.row(row);
        }
        let mut text = if self.nodes.is_empty() { String::new() } else { table.to_text() };
        let mut say = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        for line in &self.ages {
            say(line.counts.sentence(&line.age));
        }
        say(format!(
            "{:.0} s: {} items changed, {} sampled, {} of these void, {} under observation",
            self.seconds,
            grouped(self.changes),
            grouped(self.samples),
            grouped(self.void),
            self.watched
        ));
        if !self.unknown.is_empty() {
            let reasons = self.unknown.iter().map(|(reason, count)| format!("{count} {reason}"));
            say(format!("unknown: {}", reasons.collect::<Vec<_>>().join(", ")));
        }
        for (node, error) in &self.errors {
            say(format!("last error of {node}: {error}"));
        }
        for log in self.logs.iter().filter(|log| !log.following) {
            let error = log.error.as_deref().unwrap_or("not opened yet");
            say(format!("log of host group {} at {} is not followed: {error}", log.host_group, log.primary));
        }
        if self.inconsistency_count > 0 {
            say(format!("inconsistencies: {}", grouped(self.inconsistency_count)));
        }
        for finding in &self.inconsistencies {
            say(finding.to_text());
        }
        text
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_else(|error| json!({ "error": error.to_string() }))
    }
}

impl Finding {
    fn to_text(&self) -> String {
        let proof = match (&self.proved, &self.note) {
            (Some(proved), _) => format!("the primary proves {proved}"),
            (None, Some(note)) => note.clone(),
            (None, None) => "not verified".to_owned(),
        };
        format!(
            "{} at {} {} {}, {} after the change {} (since {}): {}; answered at {} by {}; {proof}",
            self.verdict,
            self.region,
            self.node,
            self.item,
            self.age,
            self.change,
            self.since.as_deref().unwrap_or("unknown"),
            self.why,
            self.answered,
            self.answered_by
        )
    }
}
