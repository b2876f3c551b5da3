//! What happens while users are at work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use tao_schema::ids::{ObjectId, ObjectType};

use super::SoakOptions;
use super::citizens::Door;
use super::ledger::Ledger;
use crate::faults::Impossible;
use crate::regions::Regions;

/// Something that happens to the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Replication of every host group stops on all servers but its primary, for so long.
    StopReplication(Duration),
    /// Another region is promoted with everything running.
    Promotion,
    /// kill -9 of a follower, and its restart.
    KillFollower,
    /// kill -9 of a leader, and its restart.
    KillLeader,
    /// kill -9 of a replica's server, and its restart.
    KillReplica,
    /// kill -9 of a primary's server, and its restart.
    KillPrimary,
    /// A whole master region is killed, servers and nodes, another one is promoted, and the lost one comes back.
    LoseRegion,
}

impl Event {
    /// Events of a name as the command line knows them.
    ///
    /// # Errors
    /// There is no such event.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(match text {
            "promotion" => Self::Promotion,
            "kill-follower" => Self::KillFollower,
            "kill-leader" => Self::KillLeader,
            "kill-replica" => Self::KillReplica,
            "kill-primary" => Self::KillPrimary,
            "lose-region" => Self::LoseRegion,
            _ => match text.strip_prefix("stop-replication=").and_then(|seconds| seconds.parse().ok()) {
                Some(seconds) => Self::StopReplication(Duration::from_secs(seconds)),
                None => anyhow::bail!(
                    "no event {text:?}: promotion, kill-follower, kill-leader, kill-replica, kill-primary, lose-region or \
                     stop-replication=SECONDS"
                ),
            },
        })
    }
}

/// Lets the events happen, evenly spread over the time, with a probe that shows when nothing could be written.
pub(super) async fn run(
    cluster: &mut Regions,
    options: &SoakOptions,
    ledger: &Arc<Ledger>,
    doors: &[Door],
) -> Result<Vec<Value>> {
    let began = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let shards = cluster.shards();
    let probes: Vec<_> = doors
        .iter()
        .enumerate()
        .map(|(at, door)| {
            tokio::spawn(probe(at as u32, door.clone(), shards, Arc::clone(ledger), Arc::clone(&stop)))
        })
        .collect();
    let step = options.time / (options.events.len() as u32 + 1);
    let mut happened = Vec::new();
    for (at, event) in options.events.iter().enumerate() {
        tokio::time::sleep((step * (at as u32 + 1)).saturating_sub(began.elapsed())).await;
        let start = Instant::now();
        tracing::info!("{:.1} s: {event:?}", began.elapsed().as_secs_f64());
        let lossy = *event == Event::LoseRegion && options.mode.is_async();
        if lossy {
            ledger.may_lose(true);
        }
        let found = happen(cluster, *event).await;
        if lossy {
            ledger.may_lose(false);
        }
        let found = found.unwrap_or_else(|error| match error.downcast_ref::<Impossible>() {
            Some(Impossible(why)) => {
                tracing::warn!("{event:?} can't happen here: {why}");
                json!({ "impossible": why })
            }
            None => {
                ledger.violation(format!("{event:?} failed: {error:#}"));
                json!({ "failed": format!("{error:#}") })
            }
        });
        let took = start.elapsed().as_secs_f64();
        tracing::info!("{:.1} s: {event:?} took {took:.1} s", began.elapsed().as_secs_f64());
        happened.push(json!({ "event": format!("{event:?}"), "seconds": took, "found": found }));
    }
    tokio::time::sleep(options.time.saturating_sub(began.elapsed())).await;
    stop.store(true, Ordering::Relaxed);
    for probe in probes {
        probe.await?;
    }
    Ok(happened)
}

async fn happen(cluster: &mut Regions, event: Event) -> Result<Value> {
    Ok(match event {
        Event::StopReplication(time) => {
            cluster.stop_replication().await?;
            tokio::time::sleep(time).await;
            cluster.start_replication().await?;
            Value::Null
        }
        Event::Promotion => cluster.promote(1, &[]).await?,
        Event::KillFollower => cluster.kill_and_restart_node(0, false).await?,
        Event::KillLeader => cluster.kill_and_restart_node(0, true).await?,
        Event::KillReplica => cluster.kill_and_restart_server(false).await?,
        Event::KillPrimary => cluster.kill_and_restart_server(true).await?,
        Event::LoseRegion => cluster.lose_region(0, 1).await?,
    })
}

/// Writes one object for each shard in turn, one write after the other, and notes the times without success.
async fn probe(door: u32, region: Door, shards: u32, ledger: Arc<Ledger>, stop: Arc<AtomicBool>) {
    let mut last = Instant::now();
    let mut number = 0u32;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let id = ObjectId::named(ObjectType(2), door * 1_000_000 + number, shards);
        let call =
            region.client.object_add("post").id(id).set("text", "probe").timeout(Duration::from_millis(500));
        if call.send().await.is_ok() {
            let now = Instant::now();
            let gap = now - last;
            if gap > Duration::from_millis(200) {
                ledger.outage(gap);
            }
            last = now;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ledger.outage(last.elapsed());
}
