//! The life of a node that is a process: start, run until a signal, drain.

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Admin, Databases, Node, Plan, Role};
use crate::config::NodeConfig;
use crate::stores::{self, Opening, RemoteServers};
use crate::topology;

/// Runs a node of the configuration until SIGTERM or SIGINT, then drains it.
///
/// A leader starts without the databases that can't be reached, and takes them up when they can: until then it says
/// which are missing, and is not ready if nobody else can do their work.
///
/// # Errors
/// What keeps it from starting and does not pass by itself: settings, or a topology that contradicts the databases or
/// the cluster that runs.
pub async fn run_until_signal(config: NodeConfig) -> Result<()> {
    let mut signals = Signals::catch()?;
    let plan = Plan::read(&config)?;
    tracing::info!("{}", plan.summary());
    let port = bind(config.listen).with_context(|| format!("listen = \"{}\"", config.listen))?;
    let admin = Admin::open(&plan).await?;
    let databases = tokio::select! {
        found = find_cluster(&plan) => found?,
        () = signals.next() => return Ok(()),
    };
    let node = Node::start(plan, listen(port)?, databases, admin).await?;
    signals.next().await;
    tokio::select! {
        () = node.shutdown() => {}
        // Somebody is in a hurry. What was acknowledged is in the database.
        () = signals.next() => tracing::warn!("a second signal: not waiting for requests under way"),
    }
    Ok(())
}

/// Takes the port without listening: one that is in use is found out at once, and until the node is ready callers are
/// refused instead of waiting.
fn bind(address: std::net::SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn listen(socket: TcpSocket) -> Result<TcpListener> {
    let address = socket.local_addr()?;
    socket.listen(1024).with_context(|| format!("listen = \"{address}\""))
}

/// Tries the databases of a leader, then compares the topology with the one that the cluster goes by. A database that
/// can't be reached is tried again when it is needed.
async fn find_cluster(plan: &Plan) -> Result<Option<Databases>> {
    let databases = match plan.role {
        Role::Follower => None,
        Role::Leader => {
            let opening = Opening {
                cluster: plan.topology.view(),
                config: plan.config.storage.clone(),
                translate: plan.config.translate.clone(),
            };
            let own = stores::of_region(&opening, &plan.region_name())?;
            stores::reach_all(&own).await?;
            Some(Databases { own, remote: Arc::new(RemoteServers::new(opening)) })
        }
    };
    let own = databases.as_ref().map(|databases| super::shared(&databases.own)).unwrap_or_default();
    topology::first(&plan.topology, &plan.config.name, &own, &plan.config.translate).await?;
    plan.still_holds()?;
    Ok(databases)
}

/// SIGTERM and SIGINT, caught from when this is made: none is lost between two waits.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches them from now on.
    ///
    /// # Errors
    /// The handlers can't be installed.
    pub fn catch() -> Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => tracing::info!("SIGTERM"),
            _ = self.interrupt.recv() => tracing::info!("SIGINT"),
        }
    }
}
