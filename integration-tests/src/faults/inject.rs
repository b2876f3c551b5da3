//! Faults on running regions.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tao_shard_store::fleet::FleetError;

use super::signals::{Paused, Slowed, Victim};
use super::{Fault, FaultId, Impossible, Place};
use crate::regions::{Regions, place as place_of};

/// A node that has just been restarted may take so long to be ready, on a busy machine.
const READY: Duration = Duration::from_secs(90);

/// A fault that is in force. Dropping it ends a pause or a slowness; everything else needs [`Regions::heal`], or ends with
/// the cluster.
#[derive(Debug)]
pub struct Injected {
    fault: Fault,
    undo: Option<Undo>,
}

#[derive(Debug)]
enum Undo {
    Link(FaultId),
    StartNode(String),
    StartServer { index: usize, was_primary: bool },
    Continue(Paused),
    Speed(Slowed),
    StartReplication(usize),
    NoDelay(usize),
    EmptyDisk { index: usize, was_primary: bool },
    NodeClock(String),
    ServerClock(usize),
}

impl Injected {
    /// What it is.
    pub fn fault(&self) -> &Fault {
        &self.fault
    }
}

impl Regions {
    /// Lets a fault happen.
    ///
    /// # Errors
    /// [`Impossible`]: it can't, here, and has not. Else something of the cluster did not do what it must.
    pub async fn inject(&mut self, fault: &Fault) -> Result<Injected> {
        let undo = self.begin(fault).await.with_context(|| format!("inject {fault}"))?;
        Ok(Injected { fault: fault.clone(), undo: Some(undo) })
    }

    /// Ends a fault. Does not wait until nodes that it starts are ready: see [`Regions::wait_ready`]. Once it has
    /// succeeded, more calls do nothing.
    ///
    /// # Errors
    /// Something does not come back; the call may be repeated.
    pub async fn heal(&mut self, injected: &mut Injected) -> Result<()> {
        let Some(undo) = injected.undo.take() else { return Ok(()) };
        let ended = self.end(undo).await;
        ended.map_err(|(undo, error)| {
            injected.undo = Some(undo);
            error.context(format!("heal {}", injected.fault))
        })
    }

    /// Waits until all nodes are ready.
    ///
    /// # Errors
    /// One has ended, or is not ready in 90 s; the message has its log.
    pub async fn wait_ready(&mut self) -> Result<()> {
        for name in self.node_names() {
            self.node_ready(&name, READY).await?;
        }
        Ok(())
    }

    async fn begin(&mut self, fault: &Fault) -> Result<Undo> {
        self.possible(fault)?;
        Ok(match fault {
            Fault::Network { flows, effect } => {
                let injected = self.network().inject(flows, *effect);
                Undo::Link(injected.map_err(|error| Impossible(error.to_string()))?)
            }
            Fault::Kill(place) => self.kill(place).await?,
            Fault::Pause(place) => Undo::Continue(Paused::new(self.victim(place)?)?),
            Fault::Slow { place, times } => {
                Undo::Speed(Slowed::new(self.victim(place)?, *times, self.network().runtime()?))
            }
            Fault::StopReplication(server) => {
                let index = self.replica(server).await?;
                self.servers.stop_replication(index).await?;
                Undo::StartReplication(index)
            }
            Fault::DelayReplication { server, seconds } => {
                let index = self.replica(server).await?;
                self.servers.delay_replication(index, *seconds).await?;
                Undo::NoDelay(index)
            }
            Fault::FillDisk(server) => {
                let index = self.server_index(server)?;
                let was_primary = self.is_primary(index).await?;
                self.servers.fleet()?.fill_disk(index).await.map_err(impossible)?;
                Undo::EmptyDisk { index, was_primary }
            }
            Fault::Clock { place: Place::Node(name), seconds } => {
                let clocks = self.clocks().ok_or_else(|| Impossible(NO_CLOCKS.to_owned()))?;
                clocks.set(name, *seconds)?;
                Undo::NodeClock(name.clone())
            }
            Fault::Clock { place, seconds } => {
                let index = self.server_index(place)?;
                self.servers.fleet()?.set_clock_offset(index, *seconds).map_err(impossible)?;
                Undo::ServerClock(index)
            }
        })
    }

    /// Gives the undo back if it failed, so that it can be tried again.
    async fn end(&mut self, undo: Undo) -> Result<(), (Undo, anyhow::Error)> {
        let ended = match &undo {
            Undo::Link(id) => {
                self.network().heal(*id);
                Ok(())
            }
            Undo::StartNode(name) => self.launch_again(name),
            Undo::StartServer { index, was_primary } => self.start_server(*index, *was_primary).await,
            Undo::StartReplication(index) => self.servers.start_replication(*index).await,
            Undo::NoDelay(index) => self.servers.delay_replication(*index, 0).await,
            Undo::EmptyDisk { index, was_primary } => self.empty_disk(*index, *was_primary).await,
            Undo::NodeClock(name) => self.clocks().map_or(Ok(()), |clocks| clocks.set(name, 0)),
            Undo::ServerClock(index) => self.right_clock(*index),
            Undo::Continue(_) | Undo::Speed(_) => Ok(()),
        };
        match (ended, undo) {
            (Ok(()), Undo::Speed(slowed)) => {
                slowed.end().await;
                Ok(())
            }
            (Ok(()), Undo::Continue(paused)) => {
                drop(paused);
                Ok(())
            }
            (Ok(()), _) => Ok(()),
            (Err(error), undo) => Err((undo, error)),
        }
    }

    async fn kill(&mut self, place: &Place) -> Result<Undo> {
        if let Place::Node(name) = place {
            self.nodes.get_mut(name).with_context(|| format!("no node {name}"))?.kill()?;
            return Ok(Undo::StartNode(name.clone()));
        }
        let index = self.server_index(place)?;
        let was_primary = self.is_primary(index).await?;
        self.servers.kill(index).await?;
        Ok(Undo::StartServer { index, was_primary })
    }

    async fn start_server(&mut self, index: usize, was_primary: bool) -> Result<()> {
        if !self.servers.is_running(index) {
            self.servers.restart(index).await?;
        }
        let (group, region) = self.servers.places().nth(index).context("a server")?;
        // It comes back read-only. Another one may be the primary by now: then it stays so.
        if was_primary && self.masters()?.get(group) == Some(&region) {
            self.servers.open(index).await?;
        }
        Ok(())
    }

    async fn empty_disk(&mut self, index: usize, was_primary: bool) -> Result<()> {
        self.servers.fleet()?.empty_disk(index).await?;
        if self.servers.is_running(index) {
            // A replica whose applier found no room stays stopped until somebody starts it again (MariaDB, error 1114).
            return match self.is_primary(index).await? {
                true => Ok(()),
                false => self.servers.start_replication(index).await,
            };
        }
        // A server may end when it can't write its log.
        self.start_server(index, was_primary).await
    }

    fn right_clock(&self, index: usize) -> Result<()> {
        Ok(self.servers.fleet()?.set_clock_offset(index, 0)?)
    }

    fn victim(&self, place: &Place) -> Result<Victim> {
        let pid = match place {
            Place::Node(name) => Some(self.nodes.get(name).with_context(|| format!("no node {name}"))?.pid()),
            _ => {
                let servers = self.servers.fleet()?.servers();
                servers.get(self.server_index(place)?).and_then(|server| server.pid())
            }
        };
        Victim::of(pid.with_context(|| format!("{place} does not run"))?)
    }

    /// The index of a server.
    ///
    /// # Errors
    /// It is none.
    pub fn server_index(&self, place: &Place) -> Result<usize> {
        let index = self.servers.places().position(|(group, region)| place_of(group, region) == *place);
        index.ok_or_else(|| Impossible(format!("{place} is no database server")).into())
    }

    async fn is_primary(&self, index: usize) -> Result<bool> {
        Ok(self.servers.admin(index)?.role().await?.following.is_none())
    }

    /// The index of a server that follows another.
    async fn replica(&self, place: &Place) -> Result<usize> {
        let index = self.server_index(place)?;
        if self.is_primary(index).await? {
            return Err(Impossible(format!("{place} is a primary and follows nobody")).into());
        }
        Ok(index)
    }
}

const NO_CLOCKS: &str = "the cluster was started without clocks of its own (RegionsOptions::clocks)";

fn impossible(error: FleetError) -> anyhow::Error {
    match error {
        FleetError::NotPrepared { .. } => Impossible(error.to_string()).into(),
        error => error.into(),
    }
}
