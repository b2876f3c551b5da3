//! Which core does what. Servers get one core and clients another, so that a comparison is one of servers with the same
//! processor time, and the load generator does not take any of it.

use std::io;

use anyhow::{Context, Result};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How cores are shared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cores {
    server: Vec<usize>,
    client: Vec<usize>,
    all: usize,
    pinned: bool,
}

impl Cores {
    /// Servers on the first core that this process may use, clients on the second. With `free`, or on one core, nobody is
    /// pinned.
    ///
    /// # Errors
    /// The system does not tell the cores.
    pub fn split(free: bool) -> Result<Self> {
        let set = sched_getaffinity(None).context("the cores that this process may use")?;
        let all: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect();
        Ok(Self::divide(all, free))
    }

    fn divide(all: Vec<usize>, free: bool) -> Self {
        let number = all.len();
        match all[..] {
            [first, second, ..] if !free => {
                Self { server: vec![first], client: vec![second], all: number, pinned: true }
            }
            _ => Self { server: all.clone(), client: all, all: number, pinned: false },
        }
    }

    /// Cores that this process may use.
    pub const fn all(&self) -> usize {
        self.all
    }

    /// Worker threads of a client.
    pub fn client_threads(&self) -> usize {
        self.client.len().max(1)
    }

    /// Puts the calling thread, and what it starts, on the servers' core.
    ///
    /// # Errors
    /// The system refuses.
    pub fn enter_server(&self) -> io::Result<()> {
        self.enter(&self.server)
    }

    /// Puts the calling thread on the clients' core.
    ///
    /// # Errors
    /// The system refuses.
    pub fn enter_client(&self) -> io::Result<()> {
        self.enter(&self.client)
    }

    fn enter(&self, cores: &[usize]) -> io::Result<()> {
        if self.pinned {
            sched_setaffinity(None, &set(cores))?;
        }
        Ok(())
    }

    /// Puts all threads of a running process on the servers' core; threads that it starts later follow the one that starts
    /// them.
    ///
    /// # Errors
    /// The process is gone.
    pub fn move_to_server(&self, pid: u32) -> Result<()> {
        if !self.pinned {
            return Ok(());
        }
        let set = set(&self.server);
        let folder = format!("/proc/{pid}/task");
        for entry in std::fs::read_dir(&folder).with_context(|| folder.clone())? {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
            match sched_setaffinity(id, &set) {
                Err(rustix::io::Errno::SRCH) => {} // the thread has ended meanwhile
                other => other.with_context(|| folder.clone())?,
            }
        }
        Ok(())
    }

    /// For the report.
    pub fn describe(&self) -> String {
        if self.pinned {
            let (server, client) = (&self.server, &self.client);
            format!("servers on core {server:?}, clients on core {client:?}, by sched_setaffinity")
        } else {
            format!("nobody pinned, {} cores for all", self.client.len())
        }
    }
}

fn set(cores: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_clients_never_share_a_core_if_there_are_two() {
        let cores = Cores::divide(vec![0, 3, 5], false);
        assert_eq!((&cores.server[..], &cores.client[..]), (&[0][..], &[3][..]));
        assert!(cores.describe().contains("core [0]"));
        for free in [Cores::divide(vec![7], false), Cores::divide(vec![0, 1], true)] {
            assert!(!free.pinned && free.server == free.client);
        }
    }
}
