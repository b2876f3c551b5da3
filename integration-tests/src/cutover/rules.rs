//! The rules of a cutover, each of which can be taken out.

use std::fmt;

/// A rule that keeps a cutover right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// A write takes effect only on a row that reads `serving` under its lock (R2).
    StateInWrites,
    /// ... and only in the epoch that the leader was assigned (R2).
    EpochInWrites,
    /// A leader takes its assignment from the topology, never from a row that it sees.
    WriteWhenTold,
    /// The source is fenced before the commit (R25).
    Fence,
    /// The fence takes the lock of the row, and so comes after every transaction that holds it.
    FenceWaits,
    /// Every source replica that could be promoted has the fence before the commit (R25, H30).
    FenceOnReplicas,
    /// The source's row remembers the last move that fenced it or was rolled back there. Only a later move may fence.
    FenceOnce,
    /// COMMIT compares what was applied with the fence, in its own transaction.
    DrainToFence,
    /// What is applied is compared and written in one transaction with the target's row: state, move, position (H31).
    ApplyCompares,
    /// The position of the applier has an epoch; a source that lost what was applied is copied anew.
    Lineage,
    /// COMMIT and ABORT compare the target's state (R25).
    CompareAndSet,
    /// COMMIT, ABORT and UNFENCE compare the move's id (R25, H29).
    MoveIdInCompare,
    /// The source is opened again only after the target's row reads `aborted` (R25).
    AbortBeforeUnfence,
    /// ... on every target replica that could be promoted.
    AbortOnReplicas,
    /// A worker that lost the reply to COMMIT reads the row before it goes on.
    ReadBack,
    /// COMMIT opens the epoch after the one that the *fence* has, which may be newer than when the move began.
    EpochFromFence,
    /// The source is opened again only when the fence is on every source replica that could be promoted.
    UnfenceWhenDurable,
    /// Opening the source again begins an epoch, too ...
    UnfenceOpensEpoch,
    /// ... above the one that a COMMIT of this move may have opened on a server that is gone.
    UnfenceSkipsEpoch,
    /// An opened shard is assigned in the topology only when every replica of its server that could be promoted has it.
    TellWhenDurable,
    /// The topology takes an assignment only of a higher epoch than it has.
    TellCompares,
    /// A move is closed only when its end is on every replica that could be promoted.
    CloseWhenDurable,
    /// A promotion opens an epoch for what was serving (R24).
    PromotionOpensEpoch,
    /// A promotion leaves a row that a move has fenced as it is, whatever the topology says.
    PromotionKeepsFence,
    /// A promotion keeps a row serving that a move has opened, though the topology does not say so yet.
    PromotionKeepsServing,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::StateInWrites,
        Self::EpochInWrites,
        Self::WriteWhenTold,
        Self::Fence,
        Self::FenceWaits,
        Self::FenceOnReplicas,
        Self::FenceOnce,
        Self::DrainToFence,
        Self::ApplyCompares,
        Self::Lineage,
        Self::CompareAndSet,
        Self::MoveIdInCompare,
        Self::AbortBeforeUnfence,
        Self::AbortOnReplicas,
        Self::ReadBack,
        Self::EpochFromFence,
        Self::UnfenceWhenDurable,
        Self::UnfenceOpensEpoch,
        Self::UnfenceSkipsEpoch,
        Self::TellWhenDurable,
        Self::TellCompares,
        Self::CloseWhenDurable,
        Self::PromotionOpensEpoch,
        Self::PromotionKeepsFence,
        Self::PromotionKeepsServing,
    ];
}

/// The rules in force.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Rules(u32);

impl Rules {
    /// The design.
    pub const fn all() -> Self {
        Self(u32::MAX)
    }

    /// The design less one rule.
    #[must_use]
    pub const fn without(self, rule: Rule) -> Self {
        Self(self.0 & !(1 << rule as u32))
    }

    /// Whether a rule is in force.
    pub const fn has(self, rule: Rule) -> bool {
        self.0 & (1 << rule as u32) != 0
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing: Vec<Rule> = Rule::ALL.into_iter().filter(|rule| !self.has(*rule)).collect();
        write!(f, "all but {missing:?}")
    }
}
