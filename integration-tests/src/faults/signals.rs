//! Stopping processes for a while.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// A slow process works for this long in a row.
const TURN: Duration = Duration::from_millis(5);

/// A process that is signalled; never another one that got its number.
#[derive(Clone, Debug)]
pub(crate) struct Victim(Arc<OwnedFd>);

/// A process that is stopped, until this is dropped.
#[derive(Debug)]
pub(crate) struct Paused(Victim);

/// A process that is stopped most of the time, until this is dropped.
#[derive(Debug)]
pub(super) struct Slowed(JoinHandle<()>);

impl Victim {
    /// The process that has this number now.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("a process id")?;
        let handle = pidfd_open(pid, PidfdFlags::empty()).context("the process is gone")?;
        Ok(Self(Arc::new(handle)))
    }

    fn send(&self, signal: Signal) -> rustix::io::Result<()> {
        pidfd_send_signal(&*self.0, signal)
    }
}

impl Paused {
    pub(crate) fn new(victim: Victim) -> Result<Self> {
        victim.send(Signal::STOP).context("stop")?;
        Ok(Self(victim))
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        // Fails if it was killed meanwhile, which SIGSTOP does not keep off.
        let _gone = self.0.send(Signal::CONT);
    }
}

impl Slowed {
    /// `times`: it works for one part of the time and is stopped for all others.
    pub(super) fn new(victim: Victim, times: u32, runtime: &Runtime) -> Self {
        let rest = TURN * times.saturating_sub(1);
        Self(runtime.spawn(async move {
            // The pause ends with this future, wherever it is cut off.
            while let Ok(paused) = Paused::new(victim.clone()) {
                tokio::time::sleep(rest).await;
                drop(paused);
                tokio::time::sleep(TURN).await;
            }
        }))
    }

    /// Ends it, and returns when the process works as usual.
    pub(super) async fn end(mut self) {
        self.0.abort();
        // "Cancelled".
        let _ended = (&mut self.0).await;
    }
}

impl Drop for Slowed {
    fn drop(&mut self) {
        self.0.abort();
    }
}
