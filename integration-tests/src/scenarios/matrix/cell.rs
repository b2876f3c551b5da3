//! The words of the matrix: faults, components, what is done, and to whom.

use std::fmt;

use serde::Serialize;

use crate::history::Invariant;
pub use crate::scenarios::moves::MoverFault;

/// What goes wrong: the rows of the matrix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// kill -9, and a start some time later.
    Kill,
    /// SIGSTOP, and SIGCONT some time later.
    Pause,
    /// Nothing comes through, both ways or one way.
    Partition,
    /// Everything takes ten to a thousand times as long.
    Slow,
    /// Nothing more can be written to a disk.
    DiskFull,
    /// Replication stands still, or is late.
    Replication,
    /// Another server becomes the primary.
    Failover,
    /// A process's clock is an hour off.
    Clock,
    /// A thousand connections a second.
    Churn,
    /// What nobody should send, or store.
    Poison,
}

/// Where it goes wrong: the columns of the matrix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    /// Applications with their sessions.
    Client,
    /// Followers.
    Follower,
    /// Leaders as writers.
    Leader,
    /// The database servers.
    Database,
    /// Leaders as readers of the servers' logs, and the streams to followers.
    Tailer,
    /// The mover of shards, and the shard map.
    Migrator,
}

/// A process of the cluster, by its part in it. Master and other region are those of the first host group at the time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Process {
    /// A follower in the master region.
    MasterFollower,
    /// A follower in another region.
    OtherFollower,
    /// A leader in the master region.
    MasterLeader,
    /// A leader in another region.
    OtherLeader,
    /// The primary of the first host group.
    Primary,
    /// A replica of the first host group.
    Replica,
}

/// Connections between two kinds of ends, named from the end that opens them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line {
    /// Applications to one of the followers of each region.
    ClientToFollower,
    /// The followers of a region to its leaders: requests, fills and streams of changes.
    FollowerToLeader,
    /// The leaders of the master region to the primary: transactions, reads and the log.
    LeaderToPrimary,
    /// The leaders of the other region to their replica: reads and the log.
    LeaderToReplica,
    /// Leaders of different regions: forwarded requests.
    LeaderToLeader,
    /// Replicas to their primary.
    Replication,
    /// Everything between two regions.
    Regions,
}

/// Which way nothing comes through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Neither.
    Both,
    /// From the end that opened the connection to the other.
    There,
    /// Back.
    Back,
}

/// How another server becomes the primary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Takeover {
    /// With everything running.
    Planned,
    /// With everything running, and the old master region's first leader killed in the middle of it.
    PlannedLeaderDies,
    /// The master region is lost as a whole; what was not replicated is lost and listed; it is rebuilt.
    Lossy,
}

/// What is sent or stored that should not be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Poison {
    /// Sessions and cookies that nobody issued, or that were changed.
    ForgedTokens,
    /// Bytes that are no frames, and frames that are no requests, at followers and leaders.
    BadFrames,
    /// A list of very many edges; values with NUL and with characters of four bytes.
    GreatList,
    /// Rows written past the tier, without their shard row.
    RowWithoutVersion,
    /// A table definition changed under the tier.
    Definition,
}

/// One thing that is done to the cluster, and undone after the hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Injection {
    /// kill -9; a start at the end.
    Kill(Process),
    /// SIGSTOP; SIGCONT at the end.
    Pause(Process),
    /// Users are dropped in the middle of their calls; others take their places.
    AbandonUsers,
    /// Users stand still with their sessions; they go on at the end.
    FreezeUsers,
    /// All connections of a kind are reset, again and again.
    Reset(Line),
    /// Nothing comes through.
    Cut(Line, Way),
    /// Each byte comes so much later, in milliseconds each way.
    Delay(Line, u32),
    /// The server's disk is full.
    DiskFull(Process),
    /// Replication of all groups stops.
    StopReplication,
    /// Another region becomes the master.
    Failover(Takeover),
    /// The process's wall clock jumps by so many minutes, and back at the end.
    Clock(Process, i32),
    /// New connections, a thousand a second, each with some bytes or none.
    Churn(Line),
    /// See there.
    Poison(Poison),
    /// A shard is being moved to the first host group, from another one: begun, and brought back at the end.
    Move(MoverFault),
}

/// One cell of the matrix.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// What goes wrong.
    pub fault: Fault,
    /// Where.
    pub component: Component,
    /// The likely trap, in words.
    pub trap: &'static str,
    /// The invariant that the trap would break. All are judged in every cell.
    pub invariant: Invariant,
    /// What is done.
    pub how: How,
}

/// What is done in a cell.
#[derive(Clone, Copy, Debug)]
pub enum How {
    /// Ways to do it: each run takes the next one. All of a way is done together.
    Ways(&'static [&'static [Injection]]),
    /// It can't be done, for this reason.
    Not(&'static str),
}

impl Fault {
    /// As reports and patterns name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Partition => "partition",
            Self::Slow => "slow",
            Self::DiskFull => "disk-full",
            Self::Replication => "replication",
            Self::Failover => "failover",
            Self::Clock => "clock",
            Self::Churn => "churn",
            Self::Poison => "poison",
        }
    }
}

impl Component {
    /// As reports and patterns name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Follower => "follower",
            Self::Leader => "leader",
            Self::Database => "database",
            Self::Tailer => "tailer",
            Self::Migrator => "migrator",
        }
    }
}

impl Cell {
    /// `fault/component`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.fault.name(), self.component.name())
    }

    /// What is done in run `run`, counted from 0; `None` if the cell can't be run.
    pub fn way(&self, run: usize) -> Option<&'static [Injection]> {
        match self.how {
            How::Ways(ways) => ways.get(run % ways.len().max(1)).copied(),
            How::Not(_) => None,
        }
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
