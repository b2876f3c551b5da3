//! Does to a running cluster what a cell says, and undoes it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tao_admin::shard::Step;
use tao_schema::ids::HostGroupId;
use tokio::task::block_in_place;

use super::cell::{Injection, Line, Poison, Process, Takeover, Way};
use super::churn::{Churn, RATE};
use super::poison::{self, Ground};
use crate::faults::{Ends, Fault, FaultId, Flow, Impossible, Injected, LinkFault, Place};
use crate::history::{Invariant, Judgement, Violation};
use crate::regions::{Regions, region_name};
use crate::scenarios::moves::escort::Escort;
use crate::scenarios::stage::Stage;
use crate::servers::resolve;

/// A server whose disk was full looks for room once a minute.
const ROOM_NOTICED: Duration = Duration::from_secs(90);
/// Where a mover is when something happens.
const STEPS: [Step; 8] = [
    Step::Chunk,
    Step::BeforeFence,
    Step::AfterFence,
    Step::Importing,
    Step::Verifying,
    Step::BeforeCommit,
    Step::AfterCommit,
    Step::Drained,
];
/// Why no mover stands still there.
const NO_FAILPOINTS: &str = "`tao` was built without failpoints (--features integration-tests/failpoints)";
/// How long a poison is given.
const POISON: Duration = Duration::from_millis(1_500);

/// What is wrong now, and how it is put right.
pub(super) struct Held {
    injection: Injection,
    state: State,
}

enum State {
    Faults(Vec<Injected>),
    /// Resets, one after the other.
    Resets(Vec<Flow>, Vec<FaultId>),
    Churn(Churn),
    Moving(Box<Escort>),
    /// It is over; what came of it.
    Over(Healed),
}

/// What a fault came to.
#[derive(Default)]
pub(super) struct Healed {
    /// Single injections.
    pub(super) injections: u64,
    /// What the fault itself had to show.
    pub(super) judgement: Judgement,
}

/// Why a way can't be gone here, as far as it is known before anything is done.
pub(super) fn impossible(cluster: &Regions, way: &[Injection]) -> Result<Option<Impossible>> {
    let cast = Cast::of(cluster)?;
    for injection in way {
        match injection {
            Injection::Failover(Takeover::Lossy) => {
                if let Err(why) = cluster.servers.fleet() {
                    return Ok(Some(why));
                }
            }
            Injection::Move(_) => {
                if !cfg!(feature = "failpoints") {
                    return Ok(Some(Impossible(NO_FAILPOINTS.to_owned())));
                }
            }
            Injection::Failover(_)
            | Injection::AbandonUsers
            | Injection::FreezeUsers
            | Injection::Reset(_)
            | Injection::Churn(_)
            | Injection::Poison(_) => {}
            _ => {
                let faults = cast.faults(cluster, *injection)?;
                if let Some(why) = faults.iter().find_map(|fault| cluster.possible(fault).err()) {
                    return Ok(Some(why));
                }
            }
        }
    }
    Ok(None)
}

impl Held {
    pub(super) async fn inject(injection: Injection, stage: &mut Stage, seed: u64) -> Result<Self> {
        let cast = Cast::of(&stage.cluster)?;
        if let Injection::Move(fault) = injection {
            let step = STEPS[usize::try_from(seed)? % STEPS.len()];
            let groups = (HostGroupId(2), HostGroupId(1));
            let escort = Escort::begin(stage, groups, step, fault).await?;
            return Ok(Self { injection, state: State::Moving(Box::new(escort)) });
        }
        let cluster = &mut stage.cluster;
        let state = match injection {
            Injection::Failover(takeover) => State::Over(failover(cluster, &cast, takeover).await?),
            Injection::Churn(line) => State::Churn(Churn::start(targets(cluster, &cast, line).await?)),
            Injection::Poison(poison) => State::Over(poisoned(poison, stage, seed).await?),
            Injection::Reset(line) => State::Resets(cast.flows(cluster, line, Way::Both), Vec::new()),
            _ => {
                let mut injected = Vec::new();
                for fault in cast.faults(cluster, injection)? {
                    injected.push(cluster.inject(&fault).await?);
                }
                State::Faults(injected)
            }
        };
        let mut held = Self { injection, state };
        held.again(stage)?;
        Ok(held)
    }

    /// What happens again and again while a fault is held happens once more.
    pub(super) fn again(&mut self, stage: &Stage) -> Result<()> {
        if let State::Resets(flows, ids) = &mut self.state {
            let reset = stage.cluster.network().inject(flows, LinkFault::Reset);
            ids.push(reset.map_err(|error| Impossible(error.to_string()))?);
        }
        Ok(())
    }

    pub(super) async fn heal(self, stage: &mut Stage) -> Result<Healed> {
        let cluster = &mut stage.cluster;
        let mut healed = Healed { injections: 1, judgement: Judgement::default() };
        match self.state {
            State::Faults(faults) => {
                healed.injections = faults.len() as u64;
                for mut fault in faults.into_iter().rev() {
                    cluster.heal(&mut fault).await?;
                }
                cluster.wait_ready().await?;
                if matches!(self.injection, Injection::DiskFull(_)) {
                    cluster.caught_up(ROOM_NOTICED).await?;
                }
            }
            State::Resets(_, ids) => {
                healed.injections = ids.len() as u64;
                ids.into_iter().for_each(|id| cluster.network().heal(id));
                cluster.start_replication().await?;
            }
            State::Churn(churn) => {
                let (opened, refused) = churn.counts();
                healed.injections = opened + refused;
                // On a busy machine it is fewer; the report says how many.
                ensure!(
                    opened > u64::from(RATE) / 4,
                    "{:?}: {opened} connections are no churn",
                    self.injection
                );
            }
            State::Moving(escort) => healed.judgement = escort.end(stage).await?,
            State::Over(over) => healed = over,
        }
        Ok(healed)
    }
}

/// Who is who at present: the master region of the first host group, and another one.
struct Cast {
    master: usize,
    other: usize,
}

impl Cast {
    fn of(cluster: &Regions) -> Result<Self> {
        let master = block_in_place(|| cluster.masters())?.first().copied().context("a host group")?;
        let other = (0..cluster.topology().regions.len()).find(|region| *region != master);
        Ok(Self { master, other: other.context("two regions are needed")? })
    }

    fn place(&self, process: Process) -> Place {
        let node = |region: usize, role: &str| Place::node(format!("{}-{role}-1", region_name(region)));
        match process {
            Process::MasterFollower => node(self.master, "follower"),
            Process::OtherFollower => node(self.other, "follower"),
            Process::MasterLeader => node(self.master, "leader"),
            Process::OtherLeader => node(self.other, "leader"),
            Process::Primary => Place::server(1, region_name(self.master)),
            Process::Replica => Place::server(1, region_name(self.other)),
        }
    }

    /// What an injection is, in the words of [`crate::faults`].
    fn faults(&self, cluster: &Regions, injection: Injection) -> Result<Vec<Fault>> {
        Ok(match injection {
            Injection::Kill(process) => vec![Fault::Kill(self.place(process))],
            Injection::Pause(process) => vec![Fault::Pause(self.place(process))],
            Injection::Cut(line, way) => vec![Fault::cut(self.flows(cluster, line, way))],
            Injection::Delay(line, latency_ms) => {
                let latency_ms = u64::from(latency_ms);
                let effect = LinkFault::Delay { latency_ms, jitter_ms: latency_ms / 4 };
                vec![Fault::Network { flows: self.flows(cluster, line, Way::Both), effect }]
            }
            Injection::DiskFull(process) => vec![Fault::FillDisk(self.place(process))],
            Injection::StopReplication => (1..=cluster.topology().host_groups.len() as u16)
                .map(|group| Fault::StopReplication(Place::server(group, region_name(self.other))))
                .collect(),
            Injection::Clock(process, minutes) => {
                vec![Fault::Clock { place: self.place(process), seconds: i64::from(minutes) * 60 }]
            }
            Injection::AbandonUsers
            | Injection::FreezeUsers
            | Injection::Reset(_)
            | Injection::Failover(_)
            | Injection::Churn(_)
            | Injection::Move(_)
            | Injection::Poison(_) => bail!("{injection:?} is not a fault of the cluster"),
        })
    }

    /// What travels on the connections of a kind.
    fn flows(&self, cluster: &Regions, line: Line, way: Way) -> Vec<Flow> {
        let regions = &cluster.topology().regions;
        let nodes = |region: usize, leaders: bool| -> Vec<Place> {
            let Some(region) = regions.get(region) else { return Vec::new() };
            let followers = region.followers.iter().flat_map(|tier| &tier.nodes);
            let nodes: Vec<_> =
                if leaders { region.leaders.nodes.iter().collect() } else { followers.collect() };
            nodes.into_iter().map(|node| Place::node(&node.name)).collect()
        };
        let servers = |region: usize| -> Vec<Place> {
            let groups = 1..=cluster.topology().host_groups.len() as u16;
            groups.map(|group| Place::server(group, region_name(region))).collect()
        };
        let (from, to): (Ends, Ends) = match line {
            Line::ClientToFollower => (
                Ends::Of(regions.iter().map(|region| Place::client(&region.name)).collect()),
                // One of them: a user changes to another.
                Ends::Of(
                    (0..regions.len()).filter_map(|region| nodes(region, false).into_iter().next()).collect(),
                ),
            ),
            Line::FollowerToLeader => (Ends::Of(nodes(self.other, false)), Ends::Of(nodes(self.other, true))),
            Line::LeaderToPrimary => (
                Ends::Of(nodes(self.master, true)),
                Ends::Of(vec![Place::server(1, region_name(self.master))]),
            ),
            Line::LeaderToReplica => (Ends::Of(nodes(self.other, true)), Ends::Of(servers(self.other))),
            Line::LeaderToLeader => (Ends::Of(nodes(self.other, true)), Ends::Of(nodes(self.master, true))),
            Line::Replication => (Ends::Of(servers(self.other)), Ends::Of(servers(self.master))),
            Line::Regions => (Ends::Region(region_name(self.other)), Ends::Region(region_name(self.master))),
        };
        match way {
            Way::Both => Flow::both_ways(from, to),
            Way::There => Flow::one_way(from, to),
            Way::Back => Flow::one_way(to, from),
        }
    }
}

async fn failover(cluster: &mut Regions, cast: &Cast, takeover: Takeover) -> Result<Healed> {
    match takeover {
        Takeover::Planned => {
            cluster.promote(cast.other, &[]).await?;
        }
        Takeover::PlannedLeaderDies => {
            let leader = Fault::Kill(cast.place(Process::MasterLeader));
            let mut killed = cluster.inject(&leader).await?;
            cluster.promote(cast.other, &[]).await?;
            cluster.heal(&mut killed).await?;
            cluster.wait_ready().await?;
        }
        Takeover::Lossy => {
            cluster.lose_region(cast.master, cast.other).await?;
        }
    }
    Ok(Healed { injections: 1, judgement: Judgement::default() })
}

/// Where the connections of a kind go to.
async fn targets(cluster: &Regions, cast: &Cast, line: Line) -> Result<Vec<SocketAddr>> {
    let topology = cluster.topology();
    let tier = |followers: bool| {
        let tiers = topology.tiers().filter(move |(tier, _)| (tier.tier != 0) == followers);
        tiers.flat_map(|(_, tier)| &tier.nodes).map(|node| Ok(node.address.parse()?)).collect()
    };
    let database = async |region: usize| -> Result<Vec<SocketAddr>> {
        Ok(vec![resolve(&cluster.servers.address(cluster.servers.index(0, region)?)?).await?])
    };
    match line {
        Line::ClientToFollower => tier(true),
        Line::FollowerToLeader | Line::LeaderToLeader => tier(false),
        Line::LeaderToPrimary => database(cast.master).await,
        Line::LeaderToReplica => database(cast.other).await,
        Line::Replication | Line::Regions => bail!("{line:?} has no door of its own"),
    }
}

async fn poisoned(poison: Poison, stage: &Stage, seed: u64) -> Result<Healed> {
    // Names of what is written are far from any user's.
    let number = (seed % 900_000) as u32;
    let ground = Ground { cluster: &stage.cluster, doors: stage.doors(), number, seed };
    let outcome = poison::give(poison, &ground, POISON).await?;
    let mut judgement = Judgement::default();
    outcome.checked.into_iter().for_each(|(invariant, facts)| judgement.count(invariant, facts));
    for (invariant, message) in outcome.wrong {
        judgement.blame(Violation { invariant, message, slice: Vec::new() });
    }
    if judgement.checked.is_empty() {
        let message = format!("{poison:?} was given, and nothing could be looked at");
        judgement.blame(Violation { invariant: Invariant::I9, message, slice: Vec::new() });
    }
    Ok(Healed { injections: outcome.injected, judgement })
}
