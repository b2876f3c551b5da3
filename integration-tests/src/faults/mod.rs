//! Faults of a running cluster ([`crate::regions::Regions`]): of the network between any two of its programs, of the
//! programs themselves, of replication, disks and clocks; and seeded schedules of them.
//!
//! - [`Place`] names an end, [`Flow`] what travels from some ends to others, [`Network`] has a link on every connection.
//! - [`Fault`] is what can be done; [`Regions::inject`](crate::regions::Regions::inject) does it and
//!   [`Regions::heal`](crate::regions::Regions::heal) ends it.
//! - [`Schedule`] is a list of faults with times, made from a seed, printed as JSON, and read again; [`run`] applies it and
//!   reports.
//!
//! # What is not like the real thing
//!
//! - The network's faults are made by proxies on loopback ([`tao_server::wan`]): the timers of TCP itself notice nothing.
//!   Administration (`tao`, the judges' own sessions) goes past the links, and so does replication between servers of
//!   other machines ([`crate::servers::Source::Given`]).
//! - A slow program is one that is stopped (SIGSTOP) most of the time, for at most a few seconds in a row.
//! - A full disk is a file system in memory that is made as small as what is on it (needs root). Both servers wait for
//!   room, and may take up to a minute to notice it.
//! - Clocks are those of the programs, through `libfaketime`: their wall clocks jump, monotonic clocks don't. The
//!   machine's own clock is never touched. They jump within a second, so such a fault should last longer. What a node
//!   takes from `CLOCK_BOOTTIME` comes past the library and stays right, as it would. Time namespaces of Linux are of no
//!   use here: they have no wall clock.
//!
//! # What stays behind
//!
//! Nothing, also after a panic: processes, folders and mounts belong to guards that end with the program.

mod clock;
mod fault;
mod inject;
mod network;
mod place;
mod runner;
mod schedule;
mod signals;

pub use self::fault::{Fault, FaultKind, Impossible, LinkFault};
pub use self::inject::Injected;
pub use self::network::{FaultId, Network};
pub use self::place::{Ends, Flow, Place};
pub use self::runner::{Report, Step, run};
pub use self::schedule::{Planned, Schedule, ScheduleOptions};
pub(crate) use self::signals::{Paused, Victim};

pub(crate) use self::clock::Clocks;
