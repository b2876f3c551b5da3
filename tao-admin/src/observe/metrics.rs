//! What the observer exports: names in the style of the nodes' own metrics.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tao_schema::ids::HostGroupId;

use super::tally::{Target, Verdict, age_name};

/// Counters of a running observation. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    ages: Arc<[String]>,
    looks: Family<LookLabel, Counter>,
    inconsistencies: Family<TargetLabel, Counter>,
    changes: Family<GroupLabel, Counter>,
    samples: Family<GroupLabel, Counter>,
    void: Family<GroupLabel, Counter>,
    following: Family<GroupLabel, Gauge>,
    watched: Gauge,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct LookLabel {
    region: String,
    node: String,
    role: &'static str,
    age: String,
    verdict: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct TargetLabel {
    region: String,
    node: String,
    role: &'static str,
    verdict: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct GroupLabel {
    host_group: u16,
}

impl Metrics {
    /// For looks at these ages.
    pub fn new(ages: &[Duration]) -> Self {
        Self {
            ages: ages.iter().map(|age| age_name(*age)).collect(),
            looks: Family::default(),
            inconsistencies: Family::default(),
            changes: Family::default(),
            samples: Family::default(),
            void: Family::default(),
            following: Family::default(),
            watched: Gauge::default(),
        }
    }

    /// Adds all of them to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("tao_observer");
        registry.register("looks", "Looks at a node by age and verdict", self.looks.clone());
        registry.register(
            "inconsistencies",
            "Changes that a node lacked at the last age, and answers that contradict the log",
            self.inconsistencies.clone(),
        );
        registry.register("changes", "Items changed in the primary's log", self.changes.clone());
        registry.register("samples", "Changes chosen to be looked at", self.samples.clone());
        registry.register("void", "Chosen changes that nothing can be said of", self.void.clone());
        registry.register("log_following", "1 while the primary's log is followed", self.following.clone());
        registry.register("watched", "Changes under observation", self.watched.clone());
    }

    /// A look was judged.
    pub fn look(&self, target: &Target, age: usize, verdict: Verdict) {
        let label = LookLabel {
            region: target.region.clone(),
            node: target.node.clone(),
            role: target.role.name(),
            age: self.ages.get(age).cloned().unwrap_or_default(),
            verdict: verdict.name(),
        };
        self.looks.get_or_create(&label).inc();
    }

    /// Something was inconsistent to the end.
    pub fn inconsistency(&self, target: &Target, verdict: Verdict) {
        let label = TargetLabel {
            region: target.region.clone(),
            node: target.node.clone(),
            role: target.role.name(),
            verdict: verdict.name(),
        };
        self.inconsistencies.get_or_create(&label).inc();
    }

    /// An item changed.
    pub fn change(&self, group: HostGroupId) {
        self.changes.get_or_create(&GroupLabel { host_group: group.0 }).inc();
    }

    /// A change was chosen.
    pub fn sample(&self, group: HostGroupId) {
        self.samples.get_or_create(&GroupLabel { host_group: group.0 }).inc();
    }

    /// A chosen change was given up.
    pub fn void(&self, group: HostGroupId) {
        self.void.get_or_create(&GroupLabel { host_group: group.0 }).inc();
    }

    /// Whether a log is followed.
    pub fn following(&self, group: HostGroupId, is: bool) {
        self.following.get_or_create(&GroupLabel { host_group: group.0 }).set(i64::from(is));
    }

    /// How many samples are under observation.
    pub fn watched(&self, samples: usize) {
        self.watched.set(samples as i64);
    }
}
