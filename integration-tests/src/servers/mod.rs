//! Where the database servers of a run come from: processes on this machine, containers, or servers that are there
//! already. Whoever uses them sees host groups and places, and what can be done to a server; what can't be done to servers
//! of this source is refused with the reason.

#[cfg(feature = "containers")]
mod containers;
#[cfg(not(feature = "containers"))]
#[path = "no_containers.rs"]
mod containers;
mod given;
mod source;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::try_join_all;
use tao_schema::topology::{Dsn, ReplicationMode};
use tao_server::translate::server_address;
use tao_shard_store::fleet::{Fleet, FleetOptions, can_mount, clock_library};
use tao_shard_store::replication::{Followed, Opened, ServerAdmin, Side, SourceAddress};
use tokio::net::TcpStream;

use self::containers::Containers;
use self::given::Given;
pub use self::source::{GivenServers, Image, Source};
use crate::faults::Impossible;

/// The cluster of every run, by which tables that an earlier one left are known. Nobody else calls theirs so.
pub(crate) const CLUSTER: &str = "tao-integration-tests";
/// One connection of an administrator.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A replica is connected within this.
const CONNECTED: Duration = Duration::from_secs(60);
/// What a replica has fetched must be applied within this.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);

/// How many servers, and what they promise.
#[derive(Clone, Copy, Debug)]
pub struct ServersOptions {
    /// Host groups, at least 1.
    pub groups: usize,
    /// Servers of each group, at least 1: one in each region.
    pub places: usize,
    /// What an acknowledged write is worth, if groups have more than one server.
    pub mode: ReplicationMode,
    /// Processes of this machine get a disk of their own of this size, in memory, where this process may mount any.
    pub disk_bytes: Option<u64>,
    /// Processes of this machine get a wall clock of their own, where `libfaketime` is installed.
    pub clocks: bool,
}

/// Running servers. Dropping them ends those that were started here.
pub struct Servers {
    options: ServersOptions,
    kind: Kind,
}

enum Kind {
    Local(Fleet),
    Containers(Containers),
    Given(Given),
}

impl ServersOptions {
    /// Asynchronous servers without disks and clocks of their own.
    pub fn new(groups: usize, places: usize) -> Self {
        Self { groups, places, mode: ReplicationMode::Async, disk_bytes: None, clocks: false }
    }
}

impl Servers {
    /// Gets the servers. With more than one place they are shut until [`Servers::replicate`].
    ///
    /// # Errors
    /// The source can't give them; the message says what is missing and what to do.
    pub async fn start(source: &Source, options: ServersOptions) -> Result<Self> {
        ensure!(options.groups > 0 && options.places > 0, "at least one host group and one place");
        let kind = match source {
            Source::Local(binary) => {
                let fleet = FleetOptions {
                    replicas: options.places - 1,
                    mode: options.mode,
                    // Where that is not possible, the fault says so.
                    disk_bytes: options.disk_bytes.filter(|_| can_mount().is_ok()),
                    clock_library: clock_library().filter(|_| options.clocks),
                    ..FleetOptions::new(binary.clone(), options.groups)
                };
                Kind::Local(Fleet::start(fleet).await.context("start the database servers")?)
            }
            Source::Image(image) => Kind::Containers(Containers::start(image, options).await?),
            Source::Given(servers) => Kind::Given(Given::take(servers, options).await?),
        };
        Ok(Self { options, kind })
    }

    /// How many, and what they promise.
    pub fn options(&self) -> ServersOptions {
        self.options
    }

    /// The private servers of this machine, if it is they.
    ///
    /// # Errors
    /// They are containers, or others' servers; the message says so.
    pub fn fleet(&self) -> Result<&Fleet, Impossible> {
        match &self.kind {
            Kind::Local(fleet) => Ok(fleet),
            Kind::Containers(_) => Err(no_processes("containers")),
            Kind::Given(_) => Err(no_processes("others', given by their addresses")),
        }
    }

    /// As [`Servers::fleet`], to change it.
    ///
    /// # Errors
    /// The same.
    pub fn fleet_mut(&mut self) -> Result<&mut Fleet, Impossible> {
        match &mut self.kind {
            Kind::Local(fleet) => Ok(fleet),
            Kind::Containers(_) => Err(no_processes("containers")),
            Kind::Given(_) => Err(no_processes("others', given by their addresses")),
        }
    }

    /// Whether servers can be killed and started again.
    ///
    /// # Errors
    /// They are others'.
    pub fn can_kill(&self) -> Result<(), Impossible> {
        match &self.kind {
            Kind::Local(_) | Kind::Containers(_) => Ok(()),
            Kind::Given(_) => Err(given::not_ours()),
        }
    }

    /// The index of the server of a group at a place.
    ///
    /// # Errors
    /// There is none.
    pub fn index(&self, group: usize, place: usize) -> Result<usize> {
        let known = group < self.options.groups && place < self.options.places;
        ensure!(known, "no server of group {group} at place {place}");
        Ok(place * self.options.groups + group)
    }

    /// Group and place of every server, by index.
    pub fn places(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let groups = self.options.groups;
        (0..groups * self.options.places).map(move |index| (index % groups, index / groups))
    }

    /// Address and credentials of a server.
    ///
    /// # Errors
    /// There is none of this index.
    pub fn dsn(&self, index: usize) -> Result<String> {
        let dsn = match &self.kind {
            Kind::Local(fleet) => fleet.servers().get(index).map(|server| server.dsn().expose()),
            Kind::Containers(containers) => containers.dsn(index),
            Kind::Given(given) => given.dsn(index),
        };
        dsn.with_context(|| format!("no server {index}"))
    }

    /// `host:port` of a server, as nodes know it.
    ///
    /// # Errors
    /// There is none of this index.
    pub fn address(&self, index: usize) -> Result<String> {
        Ok(server_address(&Dsn::new(self.dsn(index)?)))
    }

    /// An administrator's access to a server.
    ///
    /// # Errors
    /// There is none of this index, or its DSN is none.
    pub fn admin(&self, index: usize) -> Result<ServerAdmin> {
        Ok(ServerAdmin::new(&self.dsn(index)?, CONNECT_LIMIT)?)
    }

    /// Opens the primary of each group, at the place that `primaries` says (the first if it does not), and lets the others
    /// follow it, through the address that `through` gives for (group, place).
    ///
    /// # Errors
    /// A server does not answer or refuses, or has what its primary lacks.
    pub async fn replicate(
        &self,
        primaries: &[usize],
        through: &(dyn Fn(usize, usize) -> Option<SocketAddr> + Sync),
    ) -> Result<()> {
        let groups = (0..self.options.groups).map(|group| async move {
            let place = primaries.get(group).copied().unwrap_or_default();
            let primary = self.index(group, place)?;
            self.open(primary).await?;
            let others = (0..self.options.places).filter(|other| *other != place);
            let follow = others.map(|other| async move {
                self.follow(self.index(group, other)?, primary, through(group, other)).await
            });
            try_join_all(follow).await.map(|_| ())
        });
        try_join_all(groups).await.map(|_| ())
    }

    /// Opens a server as the primary of its group.
    ///
    /// # Errors
    /// It follows another server, does not answer, or refuses.
    pub async fn open(&self, index: usize) -> Result<()> {
        let mode = (self.options.places > 1).then_some(self.options.mode);
        match self.admin(index)?.open_primary(mode).await? {
            Opened::Open => Ok(()),
            Opened::Follows => bail!("server {index} follows another server, so it is not the primary"),
        }
    }

    /// Makes a server the replica of another and returns when it is connected.
    ///
    /// # Errors
    /// It has what the other lacks; or one of them does not answer or refuses.
    pub async fn follow(&self, index: usize, primary: usize, through: Option<SocketAddr>) -> Result<()> {
        let mut address = SourceAddress::of(&self.dsn(primary)?)?;
        if let Some(through) = through {
            address = address.through(through.ip().to_string(), through.port());
        }
        let (replica, source) = (self.admin(index)?, self.admin(primary)?);
        match replica.follow_primary(&source, &address, self.options.mode, CONNECTED).await? {
            Followed::Connected => Ok(()),
            Followed::Diverged(extra) => {
                bail!("server {index} has {extra}, which server {primary} lacks: it must be rebuilt")
            }
        }
    }

    /// Stops replication on a server, as it is: nothing more is fetched or applied.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn stop_replication(&self, index: usize) -> Result<()> {
        Ok(self.admin(index)?.stop_replication(false, Duration::ZERO).await?)
    }

    /// Starts it again.
    ///
    /// # Errors
    /// It does not answer, or follows nobody.
    pub async fn start_replication(&self, index: usize) -> Result<()> {
        Ok(self.admin(index)?.start_replication().await?)
    }

    /// Lets a replica apply everything so many seconds later than its primary committed it; 0: at once.
    ///
    /// # Errors
    /// It does not answer, or follows nobody.
    pub async fn delay_replication(&self, index: usize, seconds: u32) -> Result<()> {
        // Setting the delay throws away what was fetched and not applied; it is fetched again. But what a lossless primary
        // was told to be safe here must not be away for a moment.
        let drain = (!self.options.mode.is_async()).then_some(DRAIN_LIMIT);
        Ok(self.admin(index)?.delay_replication(seconds, drain).await?)
    }

    /// Whether a server runs, as far as that is known here: it was not killed, and a process of this machine has not ended.
    pub fn is_running(&mut self, index: usize) -> bool {
        match &mut self.kind {
            Kind::Local(fleet) => fleet.is_running(index),
            Kind::Containers(containers) => containers.is_running(index),
            Kind::Given(_) => true,
        }
    }

    /// Ends a server as a crash would. Its data stays for [`Servers::restart`].
    ///
    /// # Errors
    /// [`Impossible`]: it is not ours to kill. Or it does not run.
    pub async fn kill(&mut self, index: usize) -> Result<()> {
        match &mut self.kind {
            Kind::Local(fleet) => Ok(fleet.kill(index).await?),
            Kind::Containers(containers) => containers.kill(index).await,
            Kind::Given(_) => Err(given::not_ours().into()),
        }
    }

    /// Starts a server again that was killed. A replica goes on following; a primary with replicas comes back shut, see
    /// [`Servers::open`].
    ///
    /// # Errors
    /// [`Impossible`]: it is not ours to start. Or it does not become ready.
    pub async fn restart(&mut self, index: usize) -> Result<()> {
        match &mut self.kind {
            Kind::Local(fleet) => return Ok(fleet.restart(index).await?),
            Kind::Containers(containers) => containers.restart(index).await?,
            Kind::Given(_) => return Err(given::not_ours().into()),
        }
        // What a fleet does by itself.
        let admin = self.admin(index)?;
        if self.options.places > 1 && admin.role().await?.following.is_some() {
            admin.set_mode(self.options.mode, Side::Replica).await?;
            admin.start_replication().await?;
        }
        Ok(())
    }
}

/// Where a server or node is, whose host may have a name.
///
/// # Errors
/// The name is unknown, or nobody answers there.
pub(crate) async fn resolve(address: &str) -> Result<SocketAddr> {
    if let Ok(known) = address.parse() {
        return Ok(known);
    }
    // A name may have several addresses, of which one answers.
    let connect = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(address));
    let stream = connect.await.with_context(|| format!("{address}: no answer"))?;
    stream.and_then(|stream| stream.peer_addr()).with_context(|| address.to_owned())
}

fn no_processes(what: &str) -> Impossible {
    Impossible(format!("needs database servers that are processes of this machine; these are {what}"))
}
