//! The life of a node that is a process: start, run until a signal, drain.

use std::time::Duration;

use anyhow::{Context, Result};
use tao_shard_store::store::{StoreError, StoreErrorKind};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Admin, Node, Plan, Role};
use crate::config::NodeConfig;
use crate::stores::{self, Stores};

/// First and longest pause between two tries to reach the databases.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Runs a node of the configuration until SIGTERM or SIGINT, then drains it.
///
/// A leader whose databases can't be reached, or are read-only, waits for them: alive, not ready, saying why. It
/// starts no gRPC service before, so that followers go to the next leader.
///
/// # Errors
/// What keeps it from starting and does not pass by itself.
pub async fn run_until_signal(config: NodeConfig) -> Result<()> {
    let mut signals = Signals::catch()?;
    let plan = Plan::read(&config)?;
    tracing::info!("{}", plan.summary());
    let port = bind(config.listen).with_context(|| format!("listen = \"{}\"", config.listen))?;
    let admin = Admin::open(&plan).await?;
    let stores = match plan.role {
        Role::Follower => Stores::new(),
        Role::Leader => tokio::select! {
            opened = open_stores(&plan, &admin) => opened?,
            () = signals.next() => return Ok(()),
        },
    };
    let node = Node::start(plan, listen(port)?, stores, admin).await?;
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

/// Opens the databases, however long that takes; gives up only for what waiting does not cure.
async fn open_stores(plan: &Plan, admin: &Admin) -> Result<Stores> {
    let mut pause = RETRY.0;
    loop {
        let error =
            match stores::open_with_shards(&plan.topology, plan.region_name(), &plan.config.storage).await {
                Ok(stores) => return Ok(stores),
                Err(error) => error,
            };
        let kind = error.downcast_ref::<StoreError>().map(|error| error.kind);
        if !matches!(kind, Some(StoreErrorKind::Unavailable | StoreErrorKind::Uncertain)) {
            return Err(error);
        }
        tracing::warn!(node = plan.config.name, error = format!("{error:#}"), "waiting for a database");
        admin.waits_for(format!("{error:#}"));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY.1);
    }
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
