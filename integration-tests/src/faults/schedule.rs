//! Faults with times, from a seed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

use super::{Ends, Fault, FaultKind, Flow, LinkFault, Place};
use crate::regions::{Regions, place};

/// One entry of a schedule. Times are milliseconds: `at` since the start.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Planned {
    /// When it begins.
    pub at_ms: u64,
    /// How long it lasts.
    pub length_ms: u64,
    /// What happens.
    pub fault: Fault,
}

/// What happens when. Everything that it injects it heals, at its end at the latest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Schedule {
    /// What it was made from.
    pub seed: u64,
    /// From the start until everything is healed.
    pub length_ms: u64,
    /// In the order of their beginnings.
    pub faults: Vec<Planned>,
}

/// What a random schedule may consist of.
#[derive(Clone, Debug)]
pub struct ScheduleOptions {
    /// The kinds that may happen; repeated ones more often.
    pub kinds: Vec<FaultKind>,
    /// Regions, by name.
    pub regions: Vec<String>,
    /// Leaders and followers.
    pub nodes: Vec<Place>,
    /// Database servers.
    pub servers: Vec<Place>,
    /// Those that can be killed and started again.
    pub killable: Vec<Place>,
    /// Those that are processes of this machine: these can also be stopped, and have disks and clocks.
    pub processes: Vec<Place>,
    /// Those that follow another.
    pub replicas: Vec<Place>,
    /// The shortest fault, and the longest.
    pub fault: (Duration, Duration),
    /// The shortest time between two beginnings, and the longest.
    pub pause: (Duration, Duration),
    /// How many may be in force at once; 1: single faults.
    pub at_once: usize,
    /// Nothing happens for so long at the start and at the end.
    pub quiet: Duration,
}

impl ScheduleOptions {
    /// Everything that can happen to these regions, one or two at a time, each 1 to 8 s. Roles are those of now.
    ///
    /// # Errors
    /// Nobody says who the primaries are.
    pub fn of(regions: &Regions) -> Result<Self> {
        let masters = regions.masters()?;
        let servers = || regions.servers.places();
        let all: Vec<Place> = servers().map(|(group, region)| place(group, region)).collect();
        let replicas = servers().filter(|(group, region)| masters.get(*group) != Some(region));
        let if_they = |can: bool| if can { all.clone() } else { Vec::new() };
        Ok(Self {
            kinds: FaultKind::ALL.into_iter().filter(|kind| regions.can(*kind).is_ok()).collect(),
            regions: regions.topology().regions.iter().map(|region| region.name.clone()).collect(),
            nodes: regions.node_names().map(Place::Node).collect(),
            replicas: replicas.map(|(group, region)| place(group, region)).collect(),
            killable: if_they(regions.servers.can_kill().is_ok()),
            processes: if_they(regions.servers.fleet().is_ok()),
            servers: all,
            fault: (Duration::from_secs(1), Duration::from_secs(8)),
            pause: (Duration::from_millis(500), Duration::from_secs(6)),
            at_once: 2,
            quiet: Duration::from_secs(2),
        })
    }
}

impl Schedule {
    /// The schedule of a seed: the same for the same seed, length and options.
    pub fn random(seed: u64, length: Duration, options: &ScheduleOptions) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let end = millis(length.saturating_sub(options.quiet));
        let mut faults: Vec<Planned> = Vec::new();
        let mut at = millis(options.quiet);
        while at < end {
            let lasts = between(&mut random, options.fault).min(end - at);
            let busy: Vec<&Planned> =
                faults.iter().filter(|planned| planned.at_ms + planned.length_ms > at).collect();
            let fault =
                options.kinds.choose(&mut random).and_then(|kind| choose(&mut random, *kind, options));
            let free = busy.len() < options.at_once.max(1);
            if let Some(fault) = fault
                && free
                && lasts > 0
                && busy.iter().all(|other| can_meet(&other.fault, &fault))
            {
                faults.push(Planned { at_ms: at, length_ms: lasts, fault });
            }
            at += between(&mut random, options.pause).max(1);
        }
        Self { seed, length_ms: millis(length), faults }
    }

    /// Reads what [`Schedule::to_json`] wrote.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).context("a schedule as JSON")
    }

    /// The schedule on one line, for replaying.
    pub fn to_json(&self) -> String {
        // Neither maps with other keys than texts nor numbers that JSON does not have.
        serde_json::to_string(self).expect("plain data is written as JSON")
    }

    /// How many faults of each kind it has.
    pub fn counts(&self) -> BTreeMap<FaultKind, u64> {
        let mut counts = BTreeMap::new();
        for planned in &self.faults {
            *counts.entry(planned.fault.kind()).or_default() += 1;
        }
        counts
    }
}

/// For people: a line for each fault.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {} faults in {} ms", self.seed, self.faults.len(), self.length_ms)?;
        for Planned { at_ms, length_ms, fault } in &self.faults {
            writeln!(f, "{at_ms:>8} ms for {length_ms:>6} ms: {fault}")?;
        }
        Ok(())
    }
}

/// What happens to one process at a time must be one thing: one that is stopped can't be asked to stop replication, and
/// the end of a pause would wake one that is to be slow.
fn can_meet(one: &Fault, other: &Fault) -> bool {
    match (one.place(), other.place()) {
        (Some(one), Some(other)) => one != other,
        _ => true,
    }
}

fn choose(random: &mut StdRng, kind: FaultKind, options: &ScheduleOptions) -> Option<Fault> {
    let one_of = |random: &mut StdRng, servers: &[Place]| {
        // Nodes and servers alike, however many there are of each.
        let node = random.random() || servers.is_empty();
        if node { options.nodes.choose(random).cloned() } else { servers.choose(random).cloned() }
    };
    let process = |random: &mut StdRng| one_of(random, &options.processes);
    Some(match kind {
        FaultKind::Partition => Fault::cut(flows(random, options, true)?),
        FaultKind::OneWayPartition => Fault::cut(flows(random, options, false)?),
        FaultKind::Delay => {
            let latency_ms = *[5, 50, 200, 1_000].choose(random)?;
            let effect = LinkFault::Delay { latency_ms, jitter_ms: random.random_range(0..=latency_ms) };
            Fault::Network { flows: flows(random, options, true)?, effect }
        }
        FaultKind::Bandwidth => {
            let bytes_per_second = *[2_000, 20_000, 200_000].choose(random)?;
            Fault::Network {
                flows: flows(random, options, true)?,
                effect: LinkFault::Bandwidth { bytes_per_second },
            }
        }
        FaultKind::SlowClose => {
            let effect = LinkFault::SlowClose { delay_ms: random.random_range(100..=3_000) };
            Fault::Network { flows: flows(random, options, true)?, effect }
        }
        FaultKind::Reset => Fault::Network { flows: flows(random, options, true)?, effect: LinkFault::Reset },
        FaultKind::HalfOpen => {
            Fault::Network { flows: flows(random, options, false)?, effect: LinkFault::HalfOpen }
        }
        FaultKind::Kill => Fault::Kill(one_of(random, &options.killable)?),
        FaultKind::Pause => Fault::Pause(process(random)?),
        FaultKind::Slow => {
            Fault::Slow { place: process(random)?, times: *[10, 30, 100, 300].choose(random)? }
        }
        FaultKind::StopReplication => Fault::StopReplication(options.replicas.choose(random)?.clone()),
        FaultKind::DelayReplication => Fault::DelayReplication {
            server: options.replicas.choose(random)?.clone(),
            seconds: random.random_range(1..=5),
        },
        FaultKind::FillDisk => Fault::FillDisk(options.processes.choose(random)?.clone()),
        FaultKind::Clock => Fault::Clock {
            place: process(random)?,
            seconds: *[-3_600, -60, -2, 2, 60, 3_600].choose(random)?,
        },
    })
}

/// Between two regions, around one node or server, or from the clients of a region.
fn flows(random: &mut StdRng, options: &ScheduleOptions, both: bool) -> Option<Vec<Flow>> {
    let between = |one: Ends, other: Ends| {
        if both { Flow::both_ways(one, other) } else { Flow::one_way(one, other) }
    };
    let first = options.regions.choose(random)?;
    let others: Vec<&String> = options.regions.iter().filter(|region| *region != first).collect();
    match random.random_range(0..10) {
        0..4 if !others.is_empty() => {
            let second: &String = others.choose(random)?;
            Some(between(Ends::Region(first.clone()), Ends::Region(second.clone())))
        }
        0..8 => {
            let places = if random.random() { &options.nodes } else { &options.servers };
            let one = Ends::from(places.choose(random)?.clone());
            let heard = random.random();
            Some(if heard { between(Ends::All, one) } else { between(one, Ends::All) })
        }
        _ => Some(between(Place::client(first.clone()).into(), Ends::All)),
    }
}

fn between(random: &mut StdRng, (least, most): (Duration, Duration)) -> u64 {
    let least = millis(least);
    random.random_range(least..=millis(most).max(least))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
