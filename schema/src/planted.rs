//! Planted bugs: faults that a test build can switch on, one at a time, to see whether the suite finds them.
//!
//! [`planted`] stands where a rule is kept; in a build without the feature `planted-bugs` it is a constant `false`, and
//! the compiler removes what hangs on it. With the feature, the environment variable [`VARIABLE`] names the bug of a
//! process and of all its children. `cargo xtask bugs` runs the suite against each, and reads their names and comments
//! from this file: the first sentence says what is done wrong, the rest what a user would see.

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A bug that can be planted, named after what goes wrong.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
        #[non_exhaustive]
        pub enum Bug {
            $($(#[$doc])* $name,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name on the command line.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

bugs! {
    // The consistency core, in both tiers: the rules of `leader-follower/src/core/rules.rs`.

    /// A cache skips every eighth change but counts it as applied (R11; the reference's "drop invalidation"). Old data for
    /// ever, under a new position.
    DropChange = "drop-change",
    /// A fill older than the cache's watermark is stored as it came (R12, H14; the reference's "accept older fill"). Old
    /// data for ever.
    AcceptOlderFill = "accept-older-fill",
    /// A fill older than the ring is stored (R12, H14): what changed between is missing. Old data for ever.
    FillOlderThanRing = "fill-older-than-ring",
    /// A late fill of an epoch that was cut off is stored (R12, H19). A write that was lost is shown as if it stood.
    FillOfLostEpoch = "fill-of-lost-epoch",
    /// Rows of a shard that has left the database are believed (R12, H32). Objects that exist are "absent".
    FillOfGoneShard = "fill-of-gone-shard",
    /// A change that is known already is applied again (R13). Old data after new.
    OldChangeApplied = "old-change-applied",
    /// Absence is taken for older than every change (R13, H13; the reference's "stale negative"). Deleted objects come back.
    StaleNegative = "stale-negative",
    /// A list takes a change whose predecessor it has not seen (R13). Edges are missing from lists.
    ListChangeOutOfOrder = "list-change-out-of-order",
    /// An edge is placed below the end of a cached prefix (R14, H18). Edges between are missing from lists.
    InsertBelowBoundary = "insert-below-boundary",
    /// A write's answer leaves no floor (R15, H17). A user does not see what he wrote in another region.
    NoFloorForWrites = "no-floor-for-writes",
    /// What was shown ahead of the watermark leaves no floor (R15). The next reader of the node sees less.
    NoFloorForShown = "no-floor-for-shown",
    /// Something below the key's floor is stored (R15, H17). A user sees his write, then does not.
    StoreBelowFloor = "store-below-floor",
    /// A fill may be older than what the cache has heard of the key (R15). A reader goes back in time.
    FillIgnoresRing = "fill-ignores-ring",
    /// Too many floors are dropped in place of becoming one (R15, H17). Under load users don't see their own writes.
    FloorsEvicted = "floors-evicted",
    /// An object that came with an answer is stored whatever is known of it (R12, R18a). Old data after new.
    AnswerStoredBlindly = "answer-stored-blindly",
    /// Half of a list's change passes for all of it (R18a). Edges are missing from lists.
    HalfChange = "half-change",
    /// A change is applied although the one before it is missing (R6, R16, H7; the reference's "tailer skips a gap"). Old
    /// data for ever.
    SkipGap = "skip-gap",
    /// Memory is served while nobody tells of changes (R16). Old data during every disconnection.
    ServeWithoutStream = "serve-without-stream",
    /// Memory is served before the changes missed have come (R16). Old data after every reconnection.
    ServeBeforeCatchUp = "serve-before-catch-up",
    /// A reset leaves old entries valid (R16). Old data for ever.
    ResetKeepsEntries = "reset-keeps-entries",
    /// A subscriber who is ahead of the leader is reset to less (R16, H15). Everybody's cache is dropped, again and again.
    ResetWhoIsAhead = "reset-who-is-ahead",
    /// A watermark goes back within its history (R16, H15). Readers go back in time.
    WatermarkFalls = "watermark-falls",
    /// A shard that was elsewhere for a while is believed (R16, H16). Old data for ever.
    AbsenceForgotten = "absence-forgotten",
    /// A heartbeat that names a change not seen is ignored (R10, H9). The last write before a silence stays unseen.
    HeartbeatSeqIgnored = "heartbeat-seq-ignored",
    /// What the log has is shown before it is committed (R7, H8; stands for the reference's "re-SELECT after event"). Data
    /// that a crash takes back.
    PublishBeforeVisible = "publish-before-visible",
    /// A restarted leader serves before its replay is complete (R17). Old data after every restart.
    HalfReplayTrusted = "half-replay-trusted",
    /// A token beyond its epoch's end is satisfied by other writes (R19, H19). A lost write is not reported.
    LostTokenSatisfied = "lost-token-satisfied",
    /// What was cached beyond an epoch's end stays (R24, H19). Lost writes are shown for ever.
    KeepBeyondEpochEnd = "keep-beyond-epoch-end",
    /// Floors beyond an epoch's end stay (R24). Reads wait for what will never come.
    FloorBeyondEpochEnd = "floor-beyond-epoch-end",
    /// A history of epochs with a gap is taken for whole (R19). Lost writes are shown.
    HistoryWithGap = "history-with-gap",
    /// A reader reads the watermark after the entry (R11, H12). An old entry is vouched for with the news of a later change.
    TornClaim = "torn-claim",
    /// A token is not compared with what memory knows (R21; the reference's "ignore token"). Users don't see their writes.
    IgnoreToken = "ignore-token",
    /// A token's seq is compared whatever its epoch (R19, H19; the reference's "token without epoch"). A lost write's token is
    /// satisfied.
    TokenWithoutEpoch = "token-without-epoch",
    /// A range that lacks its last edges is answered from the cached prefix (R14, H18). Pages end too early.
    RangeOneShort = "range-one-short",
    /// A time range excludes its lower bound (R14). Edges of exactly that time are missing.
    LowBoundExcluded = "low-bound-excluded",
    /// A seq that was held and never committed hides the change that took its place (R7, H10). A phantom is shown, the real
    /// write is not.
    ReusedSeqSkipped = "reused-seq-skipped",

    // Fills, followers.

    /// A waiter takes a shared fill that is older than its token (R18). Users don't see their writes under load.
    SharedFillTooOld = "shared-fill-too-old",
    /// A fill whose caller went away keeps its place (R18, H33). A key can't be read any more.
    AbandonedFillStays = "abandoned-fill-stays",
    /// The age of what is known never ends (R20, R21, H23). A node that slept, or is cut off, serves old data without limit.
    AgeNeverExpires = "age-never-expires",
    /// A bounded read is answered from older memory (R21). `Bounded(1 s)` returns data of any age.
    BoundIgnored = "bound-ignored",
    /// A session's time floor is not compared (R19, H24). A folded session reads back.
    TimeFloorIgnored = "time-floor-ignored",
    /// A probe's answer counts from its arrival (R20, H23). A heartbeat from a buffer makes a sleeper young.
    AgeFromArrival = "age-from-arrival",

    // Leaders.

    /// A fence does not end what a heartbeat vouches for (R20, H23). The old place of a shard serves for ever.
    AgeAcrossFence = "age-across-fence",
    /// `Critical` is answered from memory, whatever the shard row says (R21, H8). The promise of the present is empty.
    CriticalFromMemory = "critical-from-memory",
    /// `Critical` is answered by a fenced or old primary (R21, H20). In a split, the old side passes for the present.
    CriticalAtOldPrimary = "critical-at-old-primary",
    /// An age proved by the old primary counts in the new epoch (R20, H20). Data without an age is served as young.
    AgeOutlivesEpoch = "age-outlives-epoch",
    /// A heartbeat overtakes a change that is held (R10, H9). An age that leaves out a change before it.
    HeartbeatOvertakes = "heartbeat-overtakes",
    /// A leader waits for its own, new primary to have what the promotion lost (R24). It serves nothing from memory for ever.
    AwaitsWhatIsLost = "awaits-what-is-lost",
    /// A shard changes its feed before the old one has brought the fence (R25). Writes of before the move are missing, until
    /// the hole is seen.
    HandoverBeforeFence = "handover-before-fence",
    /// The age of the group that the topology names is taken for a shard that another group's log feeds still (R20, R25). Old
    /// data called fresh.
    AgeOfAnotherFeed = "age-of-another-feed",
    /// What the new owner's log told before the change of hands is dropped (R25). A hole, and the cache with it.
    ArrivalsForgotten = "arrivals-forgotten",
    /// A write does not wait for a shard that changes hands (R25). Users see errors while shards move.
    NoHold = "no-hold",
    /// Another server's log is followed from behind what was held and dropped (R10, R20). An age that leaves out a change.
    HeldNotBroughtAgain = "held-not-brought-again",
    /// The audit compares nothing (R8, H9, H11). What the log did not bring is never noticed.
    NoAudit = "no-audit",
    /// A replica with transactions that the primary lacks is followed and read (R8, H22). Phantoms for ever.
    SurvivorAhead = "survivor-ahead",
    /// A write is sent on by whoever is not the master (R18, H33). Two leaders forward to each other until the deadline.
    ForwardedForEver = "forwarded-for-ever",
    /// An answer does not say that the inverse is pending (R23). A user looks at the other side and it is not there.
    PendingInverseUnsaid = "pending-inverse-unsaid",
    /// Nobody takes over what an earlier leader left in the outbox (R23; the reference's "inverse skipped on crash"). Half
    /// edges for ever.
    InverseSkippedOnCrash = "inverse-skipped-on-crash",
    /// The outbox row goes without its inverse being applied (R23, H27). Half edges for ever.
    OutboxRowLost = "outbox-row-lost",
    /// Pairs on their way have no limit (R23, H33). An unreachable other side fills memory.
    OutboxUnbounded = "outbox-unbounded",
    /// Request rows and tombstones are removed at once (R3, R22, H5). Retries have two effects, deleted inverses come back.
    PurgeTooEarly = "purge-too-early",
    /// One operation that always fails fails its whole batch (R3, H33). Neighbours of a poisoned write fail with it.
    PoisonFailsBatch = "poison-fails-batch",
    /// A split batch runs its later half first. Writes of one caller are reordered.
    LaterHalfFirst = "later-half-first",

    // What a batch does to rows, on every engine.

    /// A shard row is written whatever its epoch and state (R2, H20; the reference's "no fencing"). Two owners write.
    NoFencing = "no-fencing",
    /// The other side of a pair is written into a shard that is fenced (R2, H1). Two owners write.
    AdvanceFencedShard = "advance-fenced-shard",
    /// Adding an edge again counts it again (the reference's "count off on duplicate add"). Counts grow for ever.
    CountTwice = "count-twice",
    /// An update leaves the object's version as it was (R13). Caches take the new data for old.
    VersionNotBumped = "version-not-bumped",
    /// An allocated id stays free (R3, H6). An id is given out again after its object was deleted.
    IdsReissued = "ids-reissued",
    /// A new epoch gives out ids from where the lost one began (R24, H6). Two objects under one id that a client stored.
    IdsReissuedAfterPromotion = "ids-reissued-after-promotion",
    /// An old state of a pair is applied over a newer one (R22, H26). A deleted inverse comes back.
    OldInverseApplied = "old-inverse-applied",
    /// An outbox row goes although a newer state has taken it (R22). The newer state never arrives.
    NewerRowRemoved = "newer-row-removed",
    /// A pair written in one transaction leaves its old outbox row (R22, H28). The old state comes later, over the new one.
    OvertakenRowStays = "overtaken-row-stays",
    /// The deletion of an inverse leaves no tombstone (R22, H26). A late drainer brings the edge back.
    NoTombstone = "no-tombstone",
    /// A refused unit leaves its first operations behind. "Nothing was done" is not true.
    RefusedUnitStays = "refused-unit-stays",
    /// Outcomes are not stored with their write (R3, H5). A retry at another leader has a second effect.
    RequestsForgotten = "requests-forgotten",

    // The engines.

    /// A commit is acknowledged before the server says that it is one (R4, R5; the reference's "ack before commit"). Writes that
    /// never happened are acknowledged.
    AckBeforeCommit = "ack-before-commit",
    /// A commit without an answer is said to have failed (R4). A user repeats what did happen.
    UncertainSaidFailed = "uncertain-said-failed",
    /// A text that may still come is said to have been rolled back (R4). A write happens after it was said to have failed.
    LateTextForgotten = "late-text-forgotten",
    /// A lone write is published with the count that was thought of, whatever the database's is (R13). Caches count wrongly.
    BeliefUnchecked = "belief-unchecked",
    /// A lone write of a pair does not look for journals (R22). Old state comes back over it.
    JournalOverlooked = "journal-overlooked",
    /// An edge that a batch presumed absent is there, and that is overlooked (R13). It is counted once more.
    PresenceOverlooked = "presence-overlooked",
    /// A dead leader's transaction keeps its locks for hours (R1, H4). Its shards take no writes.
    ZombieLocks = "zombie-locks",
    /// Transactions run in the server's own isolation (R1, H3). Deadlocks between strangers, and lost updates.
    RepeatableRead = "repeatable-read",
    /// A batch waits for rows that another transaction holds (R2, H2). One locked shard holds up its whole host group.
    BatchWaitsForRows = "batch-waits-for-rows",
    /// A log is followed from the server's present position (R8, H9). A commit that nobody sees yet is missed for ever.
    StartAtPresent = "start-at-present",
    /// A deleted row's image is taken for a new one (R9). Deleted edges stay in caches.
    DeleteTakenForInsert = "delete-taken-for-insert",
    /// A column without a sign is read as if it had one (R9). Times and epochs beyond 2^31 change.
    SignLost = "sign-lost",
    /// Rows without their shard row are skipped (R9, H11). What an administrator changed by hand is never seen.
    StrangersRowsIgnored = "strangers-rows-ignored",

    // Moves of a shard between servers.

    /// A move's target serves before it has everything up to the fence (R25, H29). Acknowledged writes are missing.
    CommitWithoutFence = "commit-without-fence",
    /// A chunk of a move is taken in without the log before it (R25, H31). What was changed during the copy is old for ever.
    ChunkWithoutLog = "chunk-without-log",
    /// A move does not carry over what is deleted meanwhile (R25, H31). Deleted objects come back.
    MoveForgetsDeletes = "move-forgets-deletes",
    /// A move with an id below a known one begins and fences (R25, H29). A worker that was replaced shuts a shard that
    /// nobody opens again.
    MoveIdReused = "move-id-reused",
    /// A fence is taken away without a new epoch (R25, H29). A commit that was lost with its server and the source have one
    /// epoch with two histories.
    UnfenceKeepsEpoch = "unfence-keeps-epoch",
    /// A source that lost what was copied from it is followed (R25, H19). Writes that were lost come back on the target.
    LostSourceFollowed = "lost-source-followed",
    /// A move goes on with rows that another one has written since (R25, H31). What was deleted between comes back.
    GoesOnWithOlderProgress = "goes-on-with-older-progress",
    /// A promotion opens a row that a move has fenced (R24, R25, H30). Two owners write.
    PromotionOpensFenced = "promotion-opens-fenced",

    // Wire, topology, SDK, tools.

    /// A read's earlier positions are lost on the wire (R19). A lost write is not reported.
    LineageLostOnWire = "lineage-lost-on-wire",
    /// A retry's age is lost on the wire (R3). A retry that comes too late has a second effect.
    RetryAgeLostOnWire = "retry-age-lost-on-wire",
    /// A change's deletions are lost on the wire (R13). Deleted edges stay in followers.
    DeletionLostOnWire = "deletion-lost-on-wire",
    /// An older topology replaces a newer one (R18, R24). A node goes by a master that was deposed.
    OldTopologyTaken = "old-topology-taken",
    /// A topology that lowers an epoch is taken (R24). A shard is written under an epoch that has ended.
    EpochGoesBack = "epoch-goes-back",
    /// A server that lacks acknowledged writes is promoted without getting them (R24, H21). Acknowledged writes are lost.
    PromotedTheOlder = "promoted-the-older",
    /// Merging sessions loses a shard (R19, H24). A user does not see what his other device wrote.
    MergeDropsShard = "merge-drops-shard",
    /// A session that is too big drops positions (R19, H24). A user reads back.
    FoldDrops = "fold-drops",
    /// Reads leave no trace in the session (R19, H25). After a failover a user sees less than before.
    ReadsLeaveNoTrace = "reads-leave-no-trace",
    /// A retry is sent under a new request id (R3, H5). A write has two effects.
    RetryWithNewId = "retry-with-new-id",
    /// A cookie is taken without its signature (R19). Anybody makes reads wait for what will never come.
    ForgedCookieTaken = "forged-cookie-taken",
    /// Requests go to the other region first. Reads are slow, and behind.
    OtherRegionFirst = "other-region-first",
    /// `tao observe` counts what it finds stale as consistent. An observer that sees nothing.
    ObserverSeesNothing = "observer-sees-nothing",
    /// `tao observe` counts what it can't tell as consistent. Nines that nobody measured.
    ObserverGuesses = "observer-guesses",
    /// `tao check --deep` finds every cached entry equal. A check that compares nothing.
    CheckComparesNothing = "check-compares-nothing",
}

/// The environment variable that names the bug of this process.
pub const VARIABLE: &str = "TAO_PLANTED_BUG";

/// Whether `bug` is switched on in this process.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub const fn planted(_bug: Bug) -> bool {
    false
}

/// Whether `bug` is switched on in this process.
#[cfg(feature = "planted-bugs")]
pub fn planted(bug: Bug) -> bool {
    use std::sync::OnceLock;
    static NAMED: OnceLock<Option<Bug>> = OnceLock::new();
    let named = NAMED.get_or_init(|| {
        let name = std::env::var(VARIABLE).ok().filter(|name| !name.is_empty())?;
        let bug = Bug::ALL.iter().copied().find(|bug| bug.name() == name);
        // A typing error must not pass for a suite that finds nothing.
        Some(bug.unwrap_or_else(|| panic!("{VARIABLE}={name}: no such bug")))
    });
    *named == Some(bug)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_bug_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        assert_eq!(names.len(), Bug::ALL.len());
        let plain = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        assert!(names.iter().all(plain), "{names:?}");
    }

    /// The bug of `cargo xtask bugs` itself: with none named, none is planted.
    #[test]
    fn no_bug_is_planted_unless_it_is_named() {
        let named = std::env::var(VARIABLE).unwrap_or_default();
        let planted: Vec<&str> = Bug::ALL.iter().filter(|bug| planted(**bug)).map(|bug| bug.name()).collect();
        let expected = if cfg!(feature = "planted-bugs") { named.as_str() } else { "" };
        assert_eq!(planted, expected.split_whitespace().collect::<Vec<_>>());
    }
}
