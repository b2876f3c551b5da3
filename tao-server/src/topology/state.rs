//! The topology in force, for everybody in a node.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tao_leader_follower::ports::{Cluster, ClusterView};
use tao_schema::topology::Topology;
use tokio::sync::watch;

use super::judge::{Contradiction, Origin, Verdict, judge, judge_file};

/// What is counted about the topology.
#[derive(Debug, Default)]
pub struct TopologyMetrics {
    version: Gauge,
    contradictions: Counter,
}

/// The topology in force. Changed as a whole: first for those who route, then for those who wait for news.
pub struct TopologyState {
    node: String,
    view: ClusterView,
    news: watch::Sender<Arc<Topology>>,
    metrics: TopologyMetrics,
    /// One change at a time holds this.
    heard: Mutex<Heard>,
}

/// What others said.
#[derive(Default)]
struct Heard {
    /// Somebody goes by the topology in force, or it came from somebody. Until then it is only what the node's own file
    /// says.
    confirmed: bool,
    /// By source, what it says that can't be.
    contradictions: BTreeMap<String, String>,
}

impl TopologyMetrics {
    /// Registers everything under `tao_topology_...`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("tao_topology");
        registry.register("version", "Version of the topology in force", self.version.clone());
        registry.register(
            "contradictions",
            "Topologies found that contradict the one in force",
            self.contradictions.clone(),
        );
    }
}

impl TopologyState {
    /// Begins with `topology`, at the node of this name.
    pub fn new(node: &str, topology: Arc<Topology>) -> Self {
        let metrics = TopologyMetrics::default();
        metrics.version.set(topology.version as i64);
        Self {
            node: node.to_owned(),
            view: Arc::new(ArcSwap::from_pointee(Cluster::new(Arc::clone(&topology)))),
            news: watch::Sender::new(topology),
            metrics,
            heard: Mutex::default(),
        }
    }

    /// Registers what is counted.
    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// The cluster for those who route requests.
    pub fn view(&self) -> ClusterView {
        Arc::clone(&self.view)
    }

    /// The topology for those who wait for news of it.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Topology>> {
        self.news.subscribe()
    }

    /// The topology in force.
    pub fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.view.load().topology)
    }

    /// Takes what was found, if it is newer. Answers whether it was.
    pub fn offer(&self, theirs: &Topology, origin: &Origin) -> bool {
        let mut heard = self.heard.lock();
        let ours = self.topology();
        let verdict = match judge(&ours, theirs, origin) {
            // Replicas and other nodes may be behind; but our own file must not be ahead of all of them.
            Ok(Verdict::Older) if !heard.confirmed => judge_file(&ours, theirs, origin),
            verdict => verdict,
        };
        match verdict {
            Ok(verdict) => {
                heard.contradictions.remove(&origin.to_string());
                heard.confirmed |= verdict != Verdict::Older;
                let Verdict::Newer(next) = verdict else { return false };
                self.adopt(&ours, Arc::new(*next), origin);
                true
            }
            Err(contradiction) => {
                self.note(&mut heard, origin, &contradiction);
                false
            }
        }
    }

    /// What was found can't be a topology at all.
    pub fn refuse(&self, origin: &Origin, why: &str) {
        self.note(
            &mut self.heard.lock(),
            origin,
            &Contradiction::new(format!("{origin} can't be read: {why}")),
        );
    }

    fn note(&self, heard: &mut Heard, origin: &Origin, contradiction: &Contradiction) {
        self.metrics.contradictions.inc();
        let said = contradiction.to_string();
        // Told once, not at every look.
        if heard.contradictions.insert(origin.to_string(), said.clone()).as_deref() != Some(said.as_str()) {
            tracing::error!(node = self.node, "topology refused: {said}");
        }
    }

    /// What is wrong about the topology, for people. Empty: nothing.
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.heard.lock().contradictions.values().cloned().collect();
        if self.topology().node_named(&self.node).is_none() {
            problems.push(format!("the topology has no node {} any more: stop it", self.node));
        }
        problems
    }

    fn adopt(&self, ours: &Topology, next: Arc<Topology>, origin: &Origin) {
        let place = |topology: &Topology| topology.node_named(&self.node).map(|(tier, _)| tier);
        if place(&next) != place(ours) {
            tracing::error!(
                node = self.node,
                version = next.version,
                "the new topology has this node elsewhere, or not at all: it goes on as what it is until it is restarted"
            );
        }
        tracing::info!(node = self.node, from = ours.version, to = next.version, "{origin} is in force");
        self.metrics.version.set(next.version as i64);
        self.view.store(Arc::new(Cluster::new(Arc::clone(&next))));
        self.news.send_replace(next);
    }
}
