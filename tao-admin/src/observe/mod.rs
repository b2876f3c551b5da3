//! `tao observe`: how consistent the caches are, measured while they are used.
//!
//! As Meta's Polaris does, it learns of changes from the primaries' logs, then asks every node for what changed as a
//! client would, and again some time later. A node that does not show a change that the primary shows is *stale* at that
//! age; one that shows something else than the log has at the very position that its answer claims is *wrong*. What
//! can't be told is *unknown*, and never counts as consistent. Replies carry positions, so no clocks are compared and no
//! answer is guessed at; nobody is asked to go past its cache until the last look has been judged.
//!
//! | file | is |
//! |---|---|
//! | `observer`, `looks` | the whole decision, with injected time: what is sampled, when it is looked at, what an answer is worth |
//! | `sampler`, `beats` | which changes are taken; whether the log is read as it is written |
//! | `history`, `watched`, `item` | epochs and positions of a shard; what the log has of an item; contents |
//! | `tally`, `report`, `metrics` | figures, and how they are told |
//! | `logs`, `nodes` | the primaries' logs; asking nodes and servers |

mod beats;
mod history;
mod item;
mod logs;
mod looks;
mod metrics;
mod nodes;
mod observer;
mod report;
mod sampler;
mod tally;
#[cfg(test)]
mod tests;
mod watched;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tao_client::Client;
use tao_schema::ids::HostGroupId;
use tao_schema::topology::Topology;
use tao_server::health::{Health, State};
use tao_shard_store::log::SharedDatabase;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use report::Report;

use logs::{Log, Masters, News};
use looks::{Answered, Look};
use metrics::Metrics;
use nodes::{Nodes, Targets};
use observer::{Observer, Proof, Rules, SampleId};
use report::LogLine;

use crate::servers::Server;

/// Batches of a log that may wait to be taken in.
const NEWS: usize = 64;
/// How often answers that wait for the log are judged again.
const TICK: Duration = Duration::from_millis(100);
/// How often the topology is looked at.
const TOPOLOGY: Duration = Duration::from_secs(1);

/// How to observe.
pub struct Options {
    /// Ages at which a change is looked for, ascending; not empty.
    pub ages: Vec<Duration>,
    /// Changes that are looked at, a second.
    pub rate: f64,
    /// Changes are chosen for so long; `None`: until it is stopped.
    pub duration: Option<Duration>,
    /// Between two reports; `None`: only at the end.
    pub interval: Option<Duration>,
    /// The region to look at; `None`: all.
    pub region: Option<String>,
    /// Also the databases of the regions looked at.
    pub databases: bool,
    /// Where metrics are served.
    pub metrics_listen: Option<SocketAddr>,
    /// Longest time for an answer.
    pub timeout: Duration,
}

/// What a task has done.
enum Done {
    Proved(SampleId, bool),
    Answered(Answered),
}

struct Running {
    observer: Observer,
    nodes: Arc<Nodes>,
    targets: Targets,
    primaries: HashMap<HostGroupId, SharedDatabase>,
    logs: HashMap<HostGroupId, Option<String>>,
    topology: Topology,
    topology_due: Duration,
    servers: Arc<[Server]>,
    metrics: Metrics,
    began: Instant,
    tasks: JoinSet<Done>,
}

/// Observes until the end of the duration, and of the last look; or until `stop` ends. `tell` is given a report at each
/// interval; the last one is answered.
///
/// # Errors
/// A log can't be opened at the start, or the port of the metrics can't be had.
pub async fn run(
    client: &Client,
    servers: Vec<Server>,
    options: Options,
    stop: impl Future<Output = ()>,
    mut tell: impl FnMut(&Report) -> Result<()>,
) -> Result<Report> {
    let topology = client.topology();
    let servers: Arc<[Server]> = servers.into();
    let metrics = Metrics::new(&options.ages);
    let _health = serve(&options, &metrics).await?;
    let (masters, watched) = watch::channel(logs::masters(&topology));
    let (news, mut incoming) = mpsc::channel(NEWS);
    let mut followers = JoinSet::new();
    for group in &topology.host_groups {
        let log = Log::open(group.id, Arc::clone(&servers), watched.clone(), news.clone());
        followers.spawn(log.await?);
    }
    drop(news);
    let mut running = Running::new(topology, servers, &options, metrics);
    let mut tick = tokio::time::interval(TICK);
    let mut reports = options.interval.map(tokio::time::interval);
    let mut stop = std::pin::pin!(stop);
    loop {
        let next = running.observer.next_due().map(|due| running.began + due);
        tokio::select! {
            Some(news) = incoming.recv() => running.on_news(news),
            Some(done) = running.tasks.join_next() => running.on_done(done.context("a look failed")?),
            () = sleep_until(next) => running.look(),
            _ = tick.tick() => {
                running.on_tick(client, &masters, &options);
                if options.duration.is_some_and(|duration| running.now() >= duration) {
                    running.observer.stop_sampling();
                    if running.observer.idle() {
                        break;
                    }
                }
            }
            () = next_report(&mut reports) => tell(&running.report())?,
            () = &mut stop => break,
        }
    }
    Ok(running.report())
}

/// Serves the metrics for as long as what it answers is kept.
async fn serve(options: &Options, metrics: &Metrics) -> Result<Option<tokio_util::sync::DropGuard>> {
    let Some(listen) = options.metrics_listen else { return Ok(None) };
    let health = Health::new("tao-observe", "observer");
    health.register(|registry| metrics.register(registry));
    health.set(State::Ready);
    let stop = tokio_util::sync::CancellationToken::new();
    let address = health
        .serve(listen, stop.clone())
        .await
        .with_context(|| format!("--metrics-listen {listen}: choose another port"))?;
    crate::output::say(&format!("metrics at http://{address}/metrics"));
    Ok(Some(stop.drop_guard()))
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

async fn next_report(reports: &mut Option<tokio::time::Interval>) {
    match reports {
        Some(reports) => {
            reports.tick().await;
        }
        None => std::future::pending().await,
    }
}

impl Running {
    fn new(topology: Topology, servers: Arc<[Server]>, options: &Options, metrics: Metrics) -> Self {
        let rules = Rules { ages: options.ages.clone(), rate: options.rate, seed: rand::random() };
        let mut observer = Observer::new(rules, metrics.clone());
        observer.started(std::time::SystemTime::now());
        let mut running = Self {
            observer,
            nodes: Arc::new(Nodes::new(&servers, options.timeout)),
            targets: Targets::new(&topology, None, &[]),
            primaries: HashMap::new(),
            logs: HashMap::new(),
            topology,
            topology_due: Duration::ZERO,
            servers,
            metrics,
            began: Instant::now(),
            tasks: JoinSet::new(),
        };
        running.retarget(options);
        running
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn retarget(&mut self, options: &Options) {
        let servers: &[Server] = if options.databases { &self.servers } else { &[] };
        self.targets = Targets::new(&self.topology, options.region.as_deref(), servers);
    }

    fn on_news(&mut self, news: News) {
        match news {
            News::Opened { group, database, survey, anew } => {
                self.observer.on_opened(group, &survey, anew);
                self.primaries.insert(group, database);
                self.logs.insert(group, None);
                self.metrics.following(group, true);
            }
            News::Events { group, events } => {
                let proofs = self.observer.on_log(group, &events, self.began.elapsed());
                for proof in proofs {
                    self.prove(proof);
                }
            }
            News::Lost { group, error } => {
                self.logs.insert(group, Some(error));
                self.metrics.following(group, false);
            }
        }
    }

    fn prove(&mut self, proof: Proof) {
        let Some(primary) = self.primaries.get(&proof.group).cloned() else {
            self.observer.on_not_shown(proof.sample);
            return;
        };
        self.tasks.spawn(async move {
            let shown = logs::shown(&primary, &proof).await;
            Done::Proved(proof.sample, shown.is_ok())
        });
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Proved(sample, true) => self.observer.on_shown(sample, self.began.elapsed()),
            Done::Proved(sample, false) => self.observer.on_not_shown(sample),
            Done::Answered(answered) => {
                if let Some(verification) = self.observer.on_answer(answered) {
                    self.send(verification);
                }
            }
        }
    }

    fn look(&mut self) {
        let now = self.now();
        let targets = &self.targets;
        for look in self.observer.looks_due(now, |shard| targets.of(shard)) {
            self.send(look);
        }
    }

    fn send(&mut self, look: Look) {
        let (nodes, start) = (Arc::clone(&self.nodes), self.began);
        let group = self.topology.assignment(look.key.shard()).map(|place| place.host_group);
        let primary = group.and_then(|group| self.primaries.get(&group).cloned());
        self.tasks.spawn(async move {
            let began = start.elapsed();
            let outcome = nodes.ask(&look, primary).await;
            Done::Answered(Answered { look, outcome, began, ended: start.elapsed() })
        });
    }

    fn on_tick(&mut self, client: &Client, masters: &watch::Sender<Masters>, options: &Options) {
        for look in self.observer.settle(self.began.elapsed()) {
            self.send(look);
        }
        self.metrics.watched(self.observer.watched());
        if self.now() < self.topology_due {
            return;
        }
        self.topology_due = self.now() + TOPOLOGY;
        let topology = client.topology();
        if topology.version > self.topology.version {
            masters.send_if_modified(|known| {
                let now = logs::masters(&topology);
                let moved = *known != now;
                *known = now;
                moved
            });
            self.topology = topology;
            self.retarget(options);
        }
    }

    fn report(&self) -> Report {
        let line = |group: &tao_schema::topology::HostGroup| {
            let server = logs::server(&self.servers, group.id, &group.master);
            let address = server.map_or("an unknown server", |server| server.address.as_str());
            let state = self.logs.get(&group.id);
            LogLine {
                host_group: group.id.0,
                primary: format!("{address} in {}", group.master),
                following: matches!(state, Some(None)),
                error: state.cloned().flatten(),
            }
        };
        let logs = self.topology.host_groups.iter().map(line).collect();
        Report::of(&self.observer, logs, self.now().as_secs_f64())
    }
}
