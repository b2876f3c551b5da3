//! One move as it is drawn: which shard, where to, what goes wrong at which step.

use std::fmt;
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use tao_admin::shard::Step;
use tao_schema::ids::{HostGroupId, ShardId};
use tao_schema::topology::Topology;

/// A move to be made. The way back is always closed in the end, so that the shard can move again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) shard: ShardId,
    pub(super) from: HostGroupId,
    pub(super) to: HostGroupId,
    /// Brought back before it is closed, when it was written for so long where it went.
    pub(super) back_after: Option<Duration>,
    /// Compared once more past the mover before it is closed, with nobody at work.
    pub(super) still: bool,
    pub(super) fault: Option<Planned>,
}

/// A fault when the worker has come to a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Planned {
    pub(super) step: Step,
    pub(super) fault: MoveFault,
}

/// A shard that comes back at once was written for so long where it went.
pub(super) const BEFORE_BACK: Duration = Duration::from_secs(3);

/// One of the two host groups of a move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Source,
    Target,
}

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum MoveFault {
    /// kill -9 of the worker.
    KillMover,
    /// kill -9 of the leader that writes the shard, and its start some time later.
    KillLeader,
    /// The same with the primary of one side.
    KillServer(Side),
    /// A replica of one side stands still.
    StopReplication(Side),
    /// It is late.
    DelayReplication(Side),
    /// Another region's server becomes the primary of one side, with everything running.
    Failover(Side),
}

impl MoveFault {
    /// All of them.
    pub(super) const ALL: [Self; 10] = [
        Self::KillMover,
        Self::KillLeader,
        Self::KillServer(Side::Source),
        Self::KillServer(Side::Target),
        Self::StopReplication(Side::Source),
        Self::StopReplication(Side::Target),
        Self::DelayReplication(Side::Source),
        Self::DelayReplication(Side::Target),
        Self::Failover(Side::Source),
        Self::Failover(Side::Target),
    ];
}

impl fmt::Display for MoveFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |side: &Side| if *side == Side::Source { "source" } else { "target" };
        match self {
            Self::KillMover => f.write_str("kill-mover"),
            Self::KillLeader => f.write_str("kill-leader"),
            Self::KillServer(of) => write!(f, "kill-{}", side(of)),
            Self::StopReplication(of) => write!(f, "stop-replication-{}", side(of)),
            Self::DelayReplication(of) => write!(f, "delay-replication-{}", side(of)),
            Self::Failover(of) => write!(f, "failover-{}", side(of)),
        }
    }
}

/// How a worker comes to a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lead {
    /// On the way there.
    There,
    /// When it takes back what another one had fenced.
    Rollback,
    /// On the way back.
    Back,
    /// When the way back is closed.
    End,
}

/// How a worker comes to a step.
pub(super) const fn lead(step: Step) -> Lead {
    match step {
        Step::Planned
        | Step::Importing
        | Step::Chunk
        | Step::Copied
        | Step::Verifying
        | Step::Ready
        | Step::BeforeFence
        | Step::AfterFence
        | Step::FenceReplicated
        | Step::Drained
        | Step::BeforeCommit
        | Step::AfterCommit
        | Step::CommitReplicated
        | Step::BeforeRelease
        | Step::AfterRelease
        | Step::BeforeBeginReverse
        | Step::AfterBeginReverse => Lead::There,
        Step::BeforeAbort
        | Step::AfterAbort
        | Step::AbortReplicated
        | Step::BeforeUnfence
        | Step::AfterUnfence => Lead::Rollback,
        Step::Turned => Lead::Back,
        Step::Retire | Step::Delete | Step::Close => Lead::End,
    }
}

/// Draws a move of a shard, by chance or a given one, away from where it is.
pub(super) fn draw(
    random: &mut StdRng,
    topology: &Topology,
    given: Option<ShardId>,
    faults: bool,
) -> Option<Order> {
    let shards = u16::try_from(topology.shards).unwrap_or(u16::MAX);
    let drawn = ShardId(random.random_range(0..shards.max(1)));
    let shard = given.unwrap_or(drawn);
    let from = topology.assignment(shard)?.host_group;
    let others: Vec<HostGroupId> =
        topology.host_groups.iter().map(|group| group.id).filter(|id| *id != from).collect();
    let to = *others.get(random.random_range(0..others.len().max(1)))?;
    let reverse = random.random_bool(0.3);
    let fault = MoveFault::ALL[random.random_range(0..MoveFault::ALL.len())];
    let steps: Vec<Step> = Step::ALL.iter().copied().filter(|step| may_come(*step, reverse)).collect();
    let step = steps[random.random_range(0..steps.len())];
    let fault = faults.then_some(Planned { step, fault });
    Some(Order { shard, from, to, back_after: reverse.then_some(BEFORE_BACK), still: false, fault })
}

fn may_come(step: Step, reverse: bool) -> bool {
    lead(step) != Lead::Back || reverse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_come_to_somehow() {
        for way in [Lead::There, Lead::Rollback, Lead::Back, Lead::End] {
            assert!(Step::ALL.iter().any(|step| lead(*step) == way), "{way:?}");
        }
        assert!(!may_come(Step::Turned, false) && may_come(Step::Turned, true));
    }
}
