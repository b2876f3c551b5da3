//! Switches for rules, so that tests can show what each of them prevents: here, by themselves, or in the whole program as
//! planted bugs. In a build without either all rules hold and the switches are gone.

use tao_schema::planted::{Bug, planted};

/// A rule that tests can take out. Named after what it demands; the model's name of its absence in parentheses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(test, derive(PartialOrd, Ord))]
pub(crate) enum Rule {
    /// R12: a fill older than the ring is not stored (m1_ring).
    RingReaches,
    /// R12: a fill takes in the ring's changes since its snapshot (m1_change).
    RollForward,
    /// R12: a fill of another lineage is discarded (epfix).
    FillLineage,
    /// R12: a fill under a state that is not readable is discarded.
    FillState,
    /// R13: old changes are skipped (m2_any).
    OldChanges,
    /// R13: old is measured by `as_of` and watermark too, not by version alone (valid).
    AbsenceCounts,
    /// R13: a list change needs its previous version (m2_prev).
    PreviousVersion,
    /// R13: counts are absolute (m_cntcache).
    #[cfg_attr(not(test), expect(dead_code, reason = "looked at by code of test builds alone"))]
    AbsoluteCount,
    /// No rule of the protocol, but a defence: a list that contradicts itself is dropped.
    Consistency,
    /// R14: only at or above the old boundary (m_prefix for an emptied prefix).
    Boundary,
    /// R15: an answer ahead of the watermark leaves a floor (m3_nofloor).
    AnswerFloor,
    /// R15: what was shown ahead of the watermark leaves a floor (showfloor).
    ShownFloor,
    /// R15: nothing below the floor is stored (m7_nofloor).
    StoreFloor,
    /// R15: a fill asks for what the ring knows of the key, too (need).
    AskFloor,
    /// R15: too many floors become one (m7_evict: they are dropped).
    Collapse,
    /// R18a: the whole change of a seq (m3_half).
    WholeChange,
    /// R18a under R12: what an answer brings is a fill like any other (m3_blind).
    AnswerIsFill,
    /// R6, R16: only the next seq is applied (m4_gap).
    Contiguous,
    /// R16: a lost stream takes trust away (m4_trust).
    LostTrust,
    /// R16: trust comes back at the leader's watermark, not before (m4_from).
    CatchUp,
    /// R16: a reset voids all entries (m4_keep).
    ResetVoids,
    /// R16: who is ahead of the leader waits (wait).
    AheadWaits,
    /// R16: a watermark never falls within a lineage.
    NeverBack,
    /// R16: an absence is not continuous.
    ForgetVoids,
    /// R10: a heartbeat names the seq (hbseq).
    HeartbeatSeq,
    /// R7: what nobody has seen committed is not published.
    VisibleOnly,
    /// R17: a replay is trusted when it has come to the shard row.
    ReplayReaches,
    /// R19: a position beyond its epoch's end is lost (epfix).
    EpochEnds,
    /// R24: what a cache has beyond the epoch's end is dropped (epfix).
    EpochFlush,
    /// R24: floors beyond the epoch's end are lowered: nothing will ever reach them.
    FloorsEnd,
    /// R19: a history with a gap proves nothing.
    WholeHistory,
    /// R11: the watermark is read before the entry.
    #[cfg_attr(not(test), expect(dead_code, reason = "looked at by code of test builds alone"))]
    WatermarkFirst,
}

/// The rules in force.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    #[cfg(test)]
    off: u64,
}

impl Rules {
    /// Whether `rule` holds.
    #[inline]
    pub(crate) fn hold(self, rule: Rule) -> bool {
        #[cfg(test)]
        if self.off & (1 << rule as u32) != 0 {
            return false;
        }
        !rule.broken_by().is_some_and(planted)
    }

    /// All rules but one; and but the defence that would hide what that one prevents.
    #[cfg(test)]
    pub(crate) const fn without(rule: Rule) -> Self {
        Self { off: 1 << rule as u32 | 1 << Rule::Consistency as u32 }
    }
}

impl Rule {
    /// The planted bug that takes this rule out.
    const fn broken_by(self) -> Option<Bug> {
        Some(match self {
            Self::RingReaches => Bug::FillOlderThanRing,
            Self::RollForward => Bug::AcceptOlderFill,
            Self::FillLineage => Bug::FillOfLostEpoch,
            Self::FillState => Bug::FillOfGoneShard,
            Self::OldChanges => Bug::OldChangeApplied,
            Self::AbsenceCounts => Bug::StaleNegative,
            Self::PreviousVersion => Bug::ListChangeOutOfOrder,
            Self::Boundary => Bug::InsertBelowBoundary,
            Self::AnswerFloor => Bug::NoFloorForWrites,
            Self::ShownFloor => Bug::NoFloorForShown,
            Self::StoreFloor => Bug::StoreBelowFloor,
            Self::AskFloor => Bug::FillIgnoresRing,
            Self::Collapse => Bug::FloorsEvicted,
            Self::WholeChange => Bug::HalfChange,
            Self::AnswerIsFill => Bug::AnswerStoredBlindly,
            Self::Contiguous => Bug::SkipGap,
            Self::LostTrust => Bug::ServeWithoutStream,
            Self::CatchUp => Bug::ServeBeforeCatchUp,
            Self::ResetVoids => Bug::ResetKeepsEntries,
            Self::AheadWaits => Bug::ResetWhoIsAhead,
            Self::NeverBack => Bug::WatermarkFalls,
            Self::ForgetVoids => Bug::AbsenceForgotten,
            Self::HeartbeatSeq => Bug::HeartbeatSeqIgnored,
            Self::VisibleOnly => Bug::PublishBeforeVisible,
            Self::ReplayReaches => Bug::HalfReplayTrusted,
            Self::EpochEnds => Bug::LostTokenSatisfied,
            Self::EpochFlush => Bug::KeepBeyondEpochEnd,
            Self::FloorsEnd => Bug::FloorBeyondEpochEnd,
            Self::WholeHistory => Bug::HistoryWithGap,
            // Only a defence; what tests alone can take out.
            Self::Consistency | Self::AbsoluteCount | Self::WatermarkFirst => return None,
        })
    }
}
