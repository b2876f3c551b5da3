//! Who follows whom in a fleet with replicas.
//!
//! The fleet does not know which server of a group is the primary: a promotion may have changed it since the last start,
//! so the caller says. Until then all servers are read-only.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;

use super::error::FleetError;
use super::server::blocking;
use super::{Fleet, Server, no_server};
use crate::replication::{Followed, Opened, ServerAdmin, Side, SourceAddress};
use crate::store::StoreError;

/// One connection of an administrator.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// What a replica has fetched must be applied within this.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);

/// Through which address a replica (host group, place in the group) reaches its primary; `None`: its own. So a proxy may
/// stand in between.
pub type SourceThrough<'a> = &'a (dyn Fn(usize, usize) -> Option<SocketAddr> + Sync);

impl Fleet {
    /// The server at a place of a host group.
    #[must_use]
    pub fn server(&self, group: usize, replica: usize) -> Option<&Server> {
        self.servers.iter().find(|server| (server.group, server.replica) == (group, replica))
    }

    /// An administrator's access to a server.
    ///
    /// # Errors
    /// There is no such server.
    pub fn admin(&self, index: usize) -> Result<ServerAdmin, FleetError> {
        let server =
            self.servers.get(index).ok_or_else(|| no_server(index, "the fleet has no such server"))?;
        ServerAdmin::new(&server.dsn.expose(), CONNECT_LIMIT).map_err(at(index))
    }

    /// Opens the primary of each group, at the place that `primaries` says, and lets the group's other servers follow it.
    /// Returns when all of them are connected. What is so already stays so.
    ///
    /// # Errors
    /// A named primary follows another server, so it is none. A server has diverged from its primary: the others are set
    /// up nevertheless. A server does not answer or refuses.
    pub async fn replicate(&self, primaries: &[usize], through: SourceThrough<'_>) -> Result<(), FleetError> {
        let groups = (0..self.plan.options.groups).map(|group| async move {
            let place = primaries.get(group).copied().unwrap_or_default();
            let primary =
                self.server(group, place).ok_or_else(|| no_server(place, "no such place in a group"))?;
            self.open(primary.index).await?;
            let replicas =
                self.servers.iter().filter(|server| server.group == group && server.replica != place);
            let follow = replicas.map(|server| async move {
                // Two steps, so that one server's trouble does not keep another from being set up.
                Ok::<_, FleetError>(
                    self.follow(server.index, primary.index, through(group, server.replica)).await,
                )
            });
            try_join_all(follow).await?.into_iter().collect::<Result<(), _>>()
        });
        try_join_all(groups).await.map(|_| ())
    }

    /// Opens a server as the primary of its group, in the fleet's mode.
    ///
    /// # Errors
    /// It follows another server: that must be ended first. Or it does not answer or refuses.
    pub async fn open(&self, index: usize) -> Result<(), FleetError> {
        let mode = (self.plan.options.replicas > 0).then_some(self.plan.options.mode);
        match self.admin(index)?.open_primary(mode).await.map_err(at(index))? {
            Opened::Open => Ok(()),
            Opened::Follows => Err(no_server(index, "it follows another server, so it is not the primary")),
        }
    }

    /// Makes a server the replica of another and returns when it is connected. A server that was open is shut before.
    ///
    /// # Errors
    /// [`FleetError::Diverged`]; or one of them does not answer or refuses.
    pub async fn follow(
        &self,
        index: usize,
        primary: usize,
        through: Option<SocketAddr>,
    ) -> Result<(), FleetError> {
        let admin = self.admin(index)?;
        let dsn = self.servers.get(primary).map(|server| server.dsn.expose()).unwrap_or_default();
        let mut address = SourceAddress::of(&dsn).map_err(at(primary))?;
        if let Some(through) = through {
            address = address.through(through.ip().to_string(), through.port());
        }
        let (mode, limit) = (self.plan.options.mode, self.plan.options.start_timeout);
        let source = self.admin(primary)?;
        match admin.follow_primary(&source, &address, mode, limit).await.map_err(at(index))? {
            Followed::Connected => Ok(()),
            Followed::Diverged(extra) => Err(FleetError::Diverged { index, primary, extra }),
        }
    }

    /// Stops replication on a server, as it is: nothing more is fetched or applied.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn stop_replication(&self, index: usize) -> Result<(), FleetError> {
        self.admin(index)?.stop_replication(false, Duration::ZERO).await.map_err(at(index))
    }

    /// Starts replication again.
    ///
    /// # Errors
    /// The server does not answer, or follows nobody.
    pub async fn start_replication(&self, index: usize) -> Result<(), FleetError> {
        self.admin(index)?.start_replication().await.map_err(at(index))
    }

    /// Lets a replica apply everything so many seconds later than its primary committed it; 0: at once. In the lossless mode
    /// what it has acknowledged is applied first.
    ///
    /// # Errors
    /// The server does not answer, or follows nobody.
    pub async fn delay_replication(&self, index: usize, seconds: u32) -> Result<(), FleetError> {
        // Setting the delay throws away what was fetched and not applied; it is fetched again. But what a lossless primary
        // was told to be safe here must not be away for a moment.
        let drain = (!self.plan.options.mode.is_async()).then_some(DRAIN_LIMIT);
        self.admin(index)?.delay_replication(seconds, drain).await.map_err(at(index))
    }

    /// Rebuilds a server: throws its data away and lets an empty one under a new server id replay the primary's log from
    /// the beginning. Returns when it has everything that the primary had at the call.
    ///
    /// # Errors
    /// The primary's log does not reach back to the beginning, or it took longer than `limit`: the server is then empty or
    /// behind. Or a server does not answer.
    pub async fn reseed(
        &mut self,
        index: usize,
        primary: usize,
        through: Option<SocketAddr>,
        limit: Duration,
    ) -> Result<(), FleetError> {
        if index == primary {
            return Err(no_server(index, "it can't be rebuilt from itself"));
        }
        let wanted = self.admin(primary)?.executed().await.map_err(at(primary))?;
        if self.servers.get(index).is_some_and(|server| server.pid.is_some()) {
            self.kill(index).await?;
        }
        let plan = Arc::clone(&self.plan);
        blocking(move || plan.wipe(index)).await?;
        self.restart(index).await?;
        self.follow(index, primary, through).await?;
        self.admin(index)?.wait_executed(&wanted, limit).await.map_err(at(index))
    }

    /// After a start a replica goes on. The servers do not do so by themselves, nor keep the settings of the mode.
    pub(super) async fn resume(&self, index: usize) -> Result<(), FleetError> {
        if self.plan.options.replicas == 0 {
            return Ok(());
        }
        let admin = self.admin(index)?;
        if admin.role().await.map_err(at(index))?.following.is_some() {
            admin.set_mode(self.plan.options.mode, Side::Replica).await.map_err(at(index))?;
            admin.start_replication().await.map_err(at(index))?;
        }
        Ok(())
    }
}

fn at(index: usize) -> impl Fn(StoreError) -> FleetError {
    move |source| FleetError::Admin { index, source }
}
