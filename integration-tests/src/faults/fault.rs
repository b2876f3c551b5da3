//! What can go wrong.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Flow, Place};

/// What may happen to bytes on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkFault {
    /// Nothing comes through, nobody connects; what was sent comes when it is over.
    Cut,
    /// Everything takes longer, by the latency and from none to all of the jitter; the order stays.
    Delay {
        /// Milliseconds.
        latency_ms: u64,
        /// Milliseconds.
        jitter_ms: u64,
    },
    /// No more than this comes through.
    Bandwidth {
        /// At least 1.
        bytes_per_second: u64,
    },
    /// Ends of connections take longer.
    SlowClose {
        /// Milliseconds.
        delay_ms: u64,
    },
    /// All connections end at once, on both sides. New ones may come.
    Reset,
    /// Whoever receives has lost its connections; whoever sends does not know. New ones may come.
    HalfOpen,
}

/// One fault.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Of the network.
    Network {
        /// What it happens to.
        flows: Vec<Flow>,
        /// What happens.
        effect: LinkFault,
    },
    /// kill -9 of a node or server, and its restart in the same role at the end.
    Kill(Place),
    /// SIGSTOP of a node or server, and SIGCONT at the end.
    Pause(Place),
    /// A node or server gets only a part of the time.
    Slow {
        /// Which.
        place: Place,
        /// So many times slower, 2 to 1000.
        times: u32,
    },
    /// A replica neither fetches nor applies.
    StopReplication(Place),
    /// A replica applies everything so much later than its primary.
    DelayReplication {
        /// Which.
        server: Place,
        /// Seconds.
        seconds: u32,
    },
    /// No room is left on the disk of a server.
    FillDisk(Place),
    /// The wall clock of a node or server is wrong.
    Clock {
        /// Whose.
        place: Place,
        /// Ahead by this; negative: behind.
        seconds: i64,
    },
}

/// Kinds of faults, for choosing and counting.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// [`LinkFault::Cut`] in both directions.
    Partition,
    /// [`LinkFault::Cut`] in one direction.
    OneWayPartition,
    /// [`LinkFault::Delay`].
    Delay,
    /// [`LinkFault::Bandwidth`].
    Bandwidth,
    /// [`LinkFault::SlowClose`].
    SlowClose,
    /// [`LinkFault::Reset`].
    Reset,
    /// [`LinkFault::HalfOpen`].
    HalfOpen,
    /// [`Fault::Kill`].
    Kill,
    /// [`Fault::Pause`].
    Pause,
    /// [`Fault::Slow`].
    Slow,
    /// [`Fault::StopReplication`].
    StopReplication,
    /// [`Fault::DelayReplication`].
    DelayReplication,
    /// [`Fault::FillDisk`].
    FillDisk,
    /// [`Fault::Clock`].
    Clock,
}

/// A fault that can't happen here, and why: it was not injected, and nothing is wrong with the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Impossible(pub String);

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "can't happen here: {}", self.0)
    }
}

impl std::error::Error for Impossible {}

impl FaultKind {
    /// All kinds.
    pub const ALL: [Self; 14] = [
        Self::Partition,
        Self::OneWayPartition,
        Self::Delay,
        Self::Bandwidth,
        Self::SlowClose,
        Self::Reset,
        Self::HalfOpen,
        Self::Kill,
        Self::Pause,
        Self::Slow,
        Self::StopReplication,
        Self::DelayReplication,
        Self::FillDisk,
        Self::Clock,
    ];
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Partition => "partition",
            Self::OneWayPartition => "one-way-partition",
            Self::Delay => "delay",
            Self::Bandwidth => "bandwidth",
            Self::SlowClose => "slow-close",
            Self::Reset => "reset",
            Self::HalfOpen => "half-open",
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Slow => "slow",
            Self::StopReplication => "stop-replication",
            Self::DelayReplication => "delay-replication",
            Self::FillDisk => "fill-disk",
            Self::Clock => "clock",
        })
    }
}

impl Fault {
    /// A partition, one way or both, by its flows.
    pub fn cut(flows: Vec<Flow>) -> Self {
        Self::Network { flows, effect: LinkFault::Cut }
    }

    /// Its kind.
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Network { flows, effect } => match effect {
                LinkFault::Cut if flows.len() == 1 => FaultKind::OneWayPartition,
                LinkFault::Cut => FaultKind::Partition,
                LinkFault::Delay { .. } => FaultKind::Delay,
                LinkFault::Bandwidth { .. } => FaultKind::Bandwidth,
                LinkFault::SlowClose { .. } => FaultKind::SlowClose,
                LinkFault::Reset => FaultKind::Reset,
                LinkFault::HalfOpen => FaultKind::HalfOpen,
            },
            Self::Kill(_) => FaultKind::Kill,
            Self::Pause(_) => FaultKind::Pause,
            Self::Slow { .. } => FaultKind::Slow,
            Self::StopReplication(_) => FaultKind::StopReplication,
            Self::DelayReplication { .. } => FaultKind::DelayReplication,
            Self::FillDisk(_) => FaultKind::FillDisk,
            Self::Clock { .. } => FaultKind::Clock,
        }
    }

    /// The node or server that it happens to, if it is one.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Network { .. } => None,
            Self::Kill(place)
            | Self::Pause(place)
            | Self::Slow { place, .. }
            | Self::StopReplication(place)
            | Self::DelayReplication { server: place, .. }
            | Self::FillDisk(place)
            | Self::Clock { place, .. } => Some(place),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind())?;
        match self {
            Self::Network { flows, effect } => {
                let flows: Vec<String> = flows.iter().map(Flow::to_string).collect();
                write!(f, " of {}", flows.join(" and "))?;
                match effect {
                    LinkFault::Delay { latency_ms, jitter_ms } => write!(f, ": {latency_ms}+{jitter_ms} ms"),
                    LinkFault::Bandwidth { bytes_per_second } => write!(f, ": {bytes_per_second} B/s"),
                    LinkFault::SlowClose { delay_ms } => write!(f, ": {delay_ms} ms"),
                    LinkFault::Cut | LinkFault::Reset | LinkFault::HalfOpen => Ok(()),
                }
            }
            Self::Kill(place) | Self::Pause(place) | Self::StopReplication(place) | Self::FillDisk(place) => {
                write!(f, " of {place}")
            }
            Self::Slow { place, times } => write!(f, " of {place}: {times} times"),
            Self::DelayReplication { server, seconds } => write!(f, " of {server}: {seconds} s"),
            Self::Clock { place, seconds } => write!(f, " of {place}: {seconds:+} s"),
        }
    }
}
