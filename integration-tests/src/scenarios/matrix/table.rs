//! The matrix itself: ten faults, six components, 59 cells. (An application has no disk that the tier could fill.)
// tidy: long because it is one table

use super::cell::{Cell, Component, Fault, How, Injection, Line, MoverFault, Poison, Process, Takeover, Way};
use crate::history::Invariant;

use Component::{Client, Database, Follower, Leader, Migrator, Tailer};
use Injection::{
    AbandonUsers, Churn, Clock, Cut, Delay, DiskFull, Failover, FreezeUsers, Kill, Move, Pause, Reset,
    StopReplication,
};
use Invariant::{I1, I2, I3, I4, I5, I6, I7, I9};
use Line::{
    ClientToFollower, FollowerToLeader, LeaderToLeader, LeaderToPrimary, LeaderToReplica, Regions,
    Replication,
};
use Process::{MasterFollower, MasterLeader, OtherFollower, OtherLeader, Primary, Replica};

/// A move that nothing happens to but what else is in the way.
const A_MOVE: Injection = Move(MoverFault::None);
/// Minutes that a wrong clock is off.
const HOUR: i32 = 60;

const fn cell(
    fault: Fault,
    component: Component,
    invariant: Invariant,
    trap: &'static str,
    how: How,
) -> Cell {
    Cell { fault, component, trap, invariant, how }
}

/// All cells, row by row.
pub const CELLS: [Cell; 59] = [
    // kill -9
    cell(
        Fault::Kill,
        Client,
        I1,
        "a retry with the same request id is applied once",
        How::Ways(&[&[AbandonUsers, Reset(ClientToFollower)], &[Reset(ClientToFollower)]]),
    ),
    cell(
        Fault::Kill,
        Follower,
        I2,
        "a cold restart honours tokens",
        How::Ways(&[&[Kill(OtherFollower)], &[Kill(MasterFollower)]]),
    ),
    cell(
        Fault::Kill,
        Leader,
        I4,
        "a dead leader's late fills are refused",
        How::Ways(&[&[Kill(MasterLeader)], &[Kill(OtherLeader)]]),
    ),
    cell(
        Fault::Kill,
        Database,
        I1,
        "acknowledged writes are there afterwards",
        How::Ways(&[&[Kill(Primary)], &[Kill(Replica)]]),
    ),
    cell(
        Fault::Kill,
        Tailer,
        I4,
        "the log is read on from the saved position, and nothing counts twice",
        How::Ways(&[
            &[Kill(OtherLeader), Reset(LeaderToReplica)],
            &[Reset(LeaderToPrimary), Reset(LeaderToReplica)],
        ]),
    ),
    cell(
        Fault::Kill,
        Migrator,
        I7,
        "a move resumes; a shard has one owner",
        How::Ways(&[&[Move(MoverFault::Kill)], &[A_MOVE, Kill(MasterLeader)], &[A_MOVE, Kill(Primary)]]),
    ),
    // SIGSTOP
    cell(Fault::Pause, Client, I3, "an old token is still safe", How::Ways(&[&[FreezeUsers]])),
    cell(
        Fault::Pause,
        Follower,
        I2,
        "it wakes stale, and looks at its stream before it serves",
        How::Ways(&[&[Pause(OtherFollower)], &[Pause(MasterFollower)]]),
    ),
    cell(
        Fault::Pause,
        Leader,
        I1,
        "it wakes as an old leader, and its old transactions do no harm",
        How::Ways(&[&[Pause(MasterLeader)], &[Pause(OtherLeader)]]),
    ),
    cell(
        Fault::Pause,
        Database,
        I1,
        "a primary that slept has lost nothing that was acknowledged",
        How::Ways(&[&[Pause(Primary)], &[Pause(Replica)]]),
    ),
    cell(
        Fault::Pause,
        Tailer,
        I4,
        "the lag is seen, and nothing is skipped",
        How::Ways(&[&[Pause(Replica)], &[Pause(OtherLeader)]]),
    ),
    cell(Fault::Pause, Migrator, I7, "an old mover is fenced", How::Ways(&[&[Move(MoverFault::Sleep)]])),
    // Partitions
    cell(
        Fault::Partition,
        Client,
        I3,
        "it changes the node, and keeps its token",
        How::Ways(&[
            &[Cut(ClientToFollower, Way::Both)],
            &[Cut(ClientToFollower, Way::There)],
            &[Cut(ClientToFollower, Way::Back)],
        ]),
    ),
    cell(
        Fault::Partition,
        Follower,
        I2,
        "a token read goes up or fails",
        How::Ways(&[
            &[Cut(FollowerToLeader, Way::Both)],
            &[Cut(FollowerToLeader, Way::There)],
            &[Cut(FollowerToLeader, Way::Back)],
        ]),
    ),
    cell(
        Fault::Partition,
        Leader,
        I1,
        "what was under way is certain or unknown, never wrong",
        How::Ways(&[
            &[Cut(LeaderToPrimary, Way::Both)],
            &[Cut(LeaderToLeader, Way::There)],
            &[Cut(LeaderToPrimary, Way::Back)],
        ]),
    ),
    cell(
        Fault::Partition,
        Database,
        I2,
        "a token read crosses the regions, or fails",
        How::Ways(&[&[Cut(Regions, Way::Both)], &[Cut(Replication, Way::There)], &[Cut(Regions, Way::Back)]]),
    ),
    cell(
        Fault::Partition,
        Tailer,
        I4,
        "a gap in the log empties what depends on it",
        How::Ways(&[
            &[Cut(LeaderToReplica, Way::Both)],
            &[Cut(LeaderToReplica, Way::Back)],
            &[Cut(LeaderToReplica, Way::There)],
        ]),
    ),
    cell(
        Fault::Partition,
        Migrator,
        I7,
        "a cutover aborts cleanly",
        How::Ways(&[
            &[A_MOVE, Cut(Regions, Way::Both)],
            &[A_MOVE, Cut(Replication, Way::Both)],
            &[A_MOVE, Cut(Regions, Way::There)],
        ]),
    ),
    // Slowness
    cell(
        Fault::Slow,
        Client,
        I1,
        "a deadline is an unknown outcome",
        How::Ways(&[
            &[Delay(ClientToFollower, 400)],
            &[Delay(ClientToFollower, 1_000)],
            &[Delay(ClientToFollower, 50)],
        ]),
    ),
    cell(
        Fault::Slow,
        Follower,
        I4,
        "an older fill that comes late is discarded",
        How::Ways(&[
            &[Delay(FollowerToLeader, 150)],
            &[Delay(FollowerToLeader, 600)],
            &[Delay(FollowerToLeader, 30)],
        ]),
    ),
    cell(
        Fault::Slow,
        Leader,
        I9,
        "one fill for each key, no herd",
        How::Ways(&[
            &[Delay(LeaderToPrimary, 40)],
            &[Delay(LeaderToPrimary, 200)],
            &[Delay(LeaderToLeader, 300)],
        ]),
    ),
    cell(
        Fault::Slow,
        Database,
        I9,
        "load is shed",
        How::Ways(&[
            &[Delay(LeaderToPrimary, 300), Delay(LeaderToReplica, 300)],
            &[Delay(Replication, 500)],
            &[Delay(Regions, 400)],
        ]),
    ),
    cell(
        Fault::Slow,
        Tailer,
        I4,
        "the lag that is told is the lag that is",
        How::Ways(&[
            &[Delay(LeaderToReplica, 300)],
            &[Delay(Replication, 1_000)],
            &[Delay(LeaderToReplica, 1_000)],
        ]),
    ),
    cell(
        Fault::Slow,
        Migrator,
        I7,
        "no cutover while something lags",
        How::Ways(&[&[A_MOVE, Delay(Replication, 700)], &[A_MOVE, Delay(Regions, 400)]]),
    ),
    // Full disks
    cell(Fault::DiskFull, Follower, I9, "followers go on serving", How::Ways(&[&[DiskFull(Replica)]])),
    cell(
        Fault::DiskFull,
        Leader,
        I9,
        "leaders go on serving what they have",
        How::Ways(&[&[DiskFull(Primary)]]),
    ),
    cell(
        Fault::DiskFull,
        Database,
        I1,
        "a commit that failed is never acknowledged",
        How::Ways(&[&[DiskFull(Primary)]]),
    ),
    cell(
        Fault::DiskFull,
        Tailer,
        I4,
        "a log that can't be written stops, and goes on",
        How::Ways(&[&[DiskFull(Replica)]]),
    ),
    cell(
        Fault::DiskFull,
        Migrator,
        I7,
        "a move aborts; the source owns the shard",
        How::Ways(&[&[A_MOVE, DiskFull(Primary)]]),
    ),
    // Replication
    cell(
        Fault::Replication,
        Client,
        I2,
        "a bounded wait, then the master",
        How::Ways(&[&[StopReplication], &[Cut(Replication, Way::Both)]]),
    ),
    cell(
        Fault::Replication,
        Follower,
        I4,
        "a fill that lags never overwrites a newer one",
        How::Ways(&[&[StopReplication, Kill(OtherFollower)], &[Delay(Replication, 1_500)]]),
    ),
    cell(
        Fault::Replication,
        Leader,
        I3,
        "the changeset of a write from elsewhere survives",
        How::Ways(&[&[StopReplication, Kill(OtherLeader)], &[StopReplication]]),
    ),
    cell(
        Fault::Replication,
        Database,
        I2,
        "a wait for a position has a limit",
        How::Ways(&[&[Delay(Replication, 700)], &[StopReplication]]),
    ),
    cell(
        Fault::Replication,
        Tailer,
        I4,
        "catching up keeps the order",
        How::Ways(&[&[StopReplication, Reset(LeaderToReplica)], &[Reset(Replication)]]),
    ),
    cell(
        Fault::Replication,
        Migrator,
        I7,
        "a comparison finds a stale copy",
        How::Ways(&[&[A_MOVE, StopReplication]]),
    ),
    // Failover
    cell(
        Fault::Failover,
        Client,
        I2,
        "a token of a lost history is refused",
        How::Ways(&[&[Failover(Takeover::Lossy)]]),
    ),
    cell(
        Fault::Failover,
        Follower,
        I4,
        "a new epoch empties what it must",
        How::Ways(&[&[Failover(Takeover::Planned)]]),
    ),
    cell(
        Fault::Failover,
        Leader,
        I5,
        "a half-done inverse is repaired",
        How::Ways(&[&[Failover(Takeover::PlannedLeaderDies)]]),
    ),
    cell(
        Fault::Failover,
        Database,
        I1,
        "nothing is lost that is not listed; what is too much stays out",
        How::Ways(&[&[Failover(Takeover::Lossy)], &[Failover(Takeover::Planned)]]),
    ),
    cell(
        Fault::Failover,
        Tailer,
        I4,
        "another server's log goes on where the old one ended",
        How::Ways(&[&[Failover(Takeover::Planned), Reset(LeaderToReplica)]]),
    ),
    cell(
        Fault::Failover,
        Migrator,
        I7,
        "a failover in the middle of a copy",
        How::Ways(&[&[A_MOVE, Failover(Takeover::Planned)]]),
    ),
    // Clocks
    cell(
        Fault::Clock,
        Client,
        I2,
        "no token expires by the wall clock",
        How::Ways(&[&[Clock(OtherFollower, HOUR)], &[Clock(OtherFollower, -HOUR)]]),
    ),
    cell(
        Fault::Clock,
        Follower,
        I4,
        "ages are monotonic",
        How::Ways(&[&[Clock(OtherFollower, -HOUR)], &[Clock(MasterFollower, HOUR)]]),
    ),
    cell(
        Fault::Clock,
        Leader,
        I3,
        "an edge's time is data, not a version",
        How::Ways(&[&[Clock(MasterLeader, HOUR)], &[Clock(MasterLeader, -HOUR)]]),
    ),
    cell(
        Fault::Clock,
        Database,
        I4,
        "lag comes from what came back, not from seconds",
        How::Ways(&[&[Clock(Replica, HOUR)], &[Clock(Primary, -HOUR)], &[Clock(Primary, HOUR)]]),
    ),
    cell(
        Fault::Clock,
        Tailer,
        I4,
        "order comes from the log",
        How::Ways(&[&[Clock(OtherLeader, -HOUR)], &[Clock(OtherLeader, HOUR)]]),
    ),
    cell(
        Fault::Clock,
        Migrator,
        I7,
        "limits are monotonic",
        How::Ways(&[&[A_MOVE, Clock(Primary, HOUR)], &[A_MOVE, Clock(Primary, -HOUR)]]),
    ),
    // Churn
    cell(
        Fault::Churn,
        Client,
        I9,
        "retries stay within a tenth",
        How::Ways(&[&[Churn(ClientToFollower), Reset(ClientToFollower)]]),
    ),
    cell(Fault::Churn, Follower, I9, "open files stay bounded", How::Ways(&[&[Churn(ClientToFollower)]])),
    cell(
        Fault::Churn,
        Leader,
        I2,
        "positions belong to the connection that wrote",
        How::Ways(&[&[Churn(FollowerToLeader), Reset(FollowerToLeader)]]),
    ),
    cell(
        Fault::Churn,
        Database,
        I9,
        "pools are capped, and the servers go on",
        How::Ways(&[&[Churn(LeaderToPrimary)], &[Churn(LeaderToReplica)]]),
    ),
    cell(
        Fault::Churn,
        Tailer,
        I4,
        "streams come back without a gap",
        How::Ways(&[&[Reset(FollowerToLeader), Reset(LeaderToReplica)]]),
    ),
    cell(
        Fault::Churn,
        Migrator,
        I7,
        "a watch of the map resumes",
        How::Ways(&[
            &[A_MOVE, Churn(LeaderToPrimary)],
            &[A_MOVE, Churn(FollowerToLeader), Reset(FollowerToLeader)],
        ]),
    ),
    // Poison
    cell(
        Fault::Poison,
        Client,
        I2,
        "a forged token is refused",
        How::Ways(&[&[Injection::Poison(Poison::ForgedTokens)]]),
    ),
    cell(
        Fault::Poison,
        Follower,
        I4,
        "a bad frame is a miss",
        How::Ways(&[&[Injection::Poison(Poison::BadFrames)]]),
    ),
    cell(
        Fault::Poison,
        Leader,
        I6,
        "a very long list, NUL, characters of four bytes",
        How::Ways(&[&[Injection::Poison(Poison::GreatList)]]),
    ),
    cell(
        Fault::Poison,
        Database,
        I4,
        "a row without a version is noticed",
        How::Ways(&[&[Injection::Poison(Poison::RowWithoutVersion)]]),
    ),
    cell(
        Fault::Poison,
        Tailer,
        I4,
        "an event that can't be understood stops, and alarms",
        How::Ways(&[&[Injection::Poison(Poison::Definition)]]),
    ),
    cell(
        Fault::Poison,
        Migrator,
        I7,
        "a row that changes between scan and cutover",
        How::Ways(&[&[Move(MoverFault::Mislead)]]),
    ),
];
