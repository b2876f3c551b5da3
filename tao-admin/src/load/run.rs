//! Loading: many calls at once, those of one pair in the order of the file.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use tao_client::{Client, ErrorCode};
use tao_schema::ids::{ObjectId, ObjectType};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::edge_list::{Line, Source};
use super::verify::{Expected, Verified};
use crate::progress::Progress;

/// Items that wait for a worker.
const QUEUE: usize = 32;

/// Loads edge lists into one cluster.
pub struct Loader {
    /// The SDK.
    pub client: Client,
    /// The association type of the edges.
    pub assoc: String,
    /// Whether `a b` and `b a` are the same edge.
    pub symmetric: bool,
    /// The type of the same edges seen from the other end.
    pub inverse: Option<String>,
    /// Whether to read everything back, and compare it with the file.
    pub verify: bool,
    /// The type of the nodes.
    pub object: (ObjectType, String),
    /// Shards of the cluster: part of an id.
    pub shards: u32,
    /// Calls at once.
    pub concurrency: usize,
    /// How long one call may take.
    pub timeout: Duration,
}

/// What was loaded.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LoadReport {
    /// The file.
    pub file: String,
    /// Edges read, repeated ones included.
    pub lines: u64,
    /// Distinct nodes.
    pub nodes: u64,
    /// Distinct edges; of a symmetric type, distinct pairs.
    pub distinct_edges: u64,
    /// Of these, edges from a node to itself.
    pub self_loops: u64,
    /// Seconds it took.
    pub seconds: f64,
    /// Edges a second.
    pub edges_per_second: f64,
    /// What was read back, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
}

enum Item {
    Node(ObjectId),
    Edge(ObjectId, ObjectId, u32),
}

impl Loader {
    /// Loads one file. Every step has the same effect when it is done again, so a load that was cut off is run again as a
    /// whole: what is there already stays.
    ///
    /// # Errors
    /// A line that is no edge, or a call that fails for good.
    pub async fn run(&self, mut source: Source, file: String) -> Result<LoadReport> {
        let started = Instant::now();
        let progress = Progress::bar("loading", source.bytes(), "bytes");
        let mut workers = JoinSet::new();
        let queues: Vec<mpsc::Sender<Item>> =
            (0..self.concurrency).map(|_| self.worker(&mut workers)).collect();
        let mut seen = Seen::default();
        let mut report = LoadReport { file, ..LoadReport::default() };
        let mut bytes = 0;
        let reading = async {
            while let Some(line) = source.next_edge()? {
                report.lines += 1;
                for item in self.items(line, &mut seen) {
                    if queues[self.worker_of(&item)].send(item).await.is_err() {
                        // The worker has failed; its error is what there is to say.
                        return Ok(());
                    }
                }
                let read = source.bytes_read();
                progress.advance(read - bytes);
                bytes = read;
            }
            anyhow::Ok(())
        };
        let read = reading.await;
        drop(queues);
        while let Some(done) = workers.join_next().await {
            done.context("a worker")?.with_context(|| {
                format!(
                    "stopped after line {} of {}; run the same command again to go on",
                    report.lines, report.file
                )
            })?;
        }
        read?;
        progress.finish();
        report.nodes = seen.nodes.len() as u64;
        report.distinct_edges = seen.edges.len() as u64;
        report.self_loops = seen.edges.iter().filter(|(from, to)| from == to).count() as u64;
        report.seconds = started.elapsed().as_secs_f64();
        report.edges_per_second = report.lines as f64 / report.seconds.max(f64::EPSILON);
        if self.verify {
            report.verified = Some(self.read_back(&seen).await?);
        }
        Ok(report)
    }

    async fn read_back(&self, seen: &Seen) -> Result<Verified> {
        let mut verified = Verified::default();
        let forward = seen.edges.iter().copied();
        // An edge from a node to itself is one edge of a symmetric type.
        let backward = seen.edges.iter().map(|(from, to)| (*to, *from));
        let both_ways = backward.clone().filter(|(from, to)| from != to);
        let mut expected = Vec::new();
        if self.symmetric {
            expected.push(Expected::new(&self.assoc, forward.chain(both_ways)));
        } else {
            expected.push(Expected::new(&self.assoc, forward));
            expected.extend(self.inverse.iter().map(|inverse| Expected::new(inverse, backward.clone())));
        }
        for lists in expected {
            lists.compare(&self.client, self.object.0, self.shards, &mut verified).await?;
        }
        Ok(verified)
    }

    fn items(&self, line: Line, seen: &mut Seen) -> Vec<Item> {
        let id = |number| ObjectId::named(self.object.0, number, self.shards);
        let mut items = Vec::with_capacity(3);
        for node in [line.from, line.to] {
            if seen.nodes.insert(node) {
                items.push(Item::Node(id(node)));
            }
        }
        let pair = if self.symmetric { ordered(line.from, line.to) } else { (line.from, line.to) };
        seen.edges.insert(pair);
        items.push(Item::Edge(id(line.from), id(line.to), line.time));
        items
    }

    /// All lines about one pair go to one worker, which does them in order: the last one counts.
    fn worker_of(&self, item: &Item) -> usize {
        let key = match item {
            Item::Node(id) => (id.0, id.0),
            Item::Edge(from, to, _) => (from.0.min(to.0), from.0.max(to.0)),
        };
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
        (hash % self.concurrency as u64) as usize
    }

    fn worker(&self, workers: &mut JoinSet<Result<()>>) -> mpsc::Sender<Item> {
        let (sender, mut items) = mpsc::channel(QUEUE);
        let (client, timeout) = (self.client.clone(), self.timeout);
        let (assoc, object) = (self.assoc.clone(), self.object.1.clone());
        workers.spawn(async move {
            while let Some(item) = items.recv().await {
                match item {
                    Item::Node(id) => match client.object_add(&object).id(id).timeout(timeout).send().await {
                        Err(error) if error.code == ErrorCode::PreconditionFailed => {} // it is there already
                        other => drop(other?),
                    },
                    Item::Edge(from, to, time) => {
                        client.assoc_add(from, &assoc, to).time(time).timeout(timeout).send().await?;
                    }
                }
            }
            Ok(())
        });
        sender
    }
}

/// What the file has named so far, to count what is distinct.
#[derive(Default)]
struct Seen {
    nodes: HashSet<u32>,
    edges: HashSet<(u32, u32)>,
}

const fn ordered(a: u32, b: u32) -> (u32, u32) {
    if a <= b { (a, b) } else { (b, a) }
}
