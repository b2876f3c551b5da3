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
use tao_schema::topology::ReplicationMode;
use tao_shard_store::fleet::{Fleet, FleetOptions};
use tao_shard_store::replication::{Followed, Opened, ServerAdmin, SourceAddress};

use self::containers::Containers;
use self::given::Given;
pub use self::source::{Image, Source};

/// One connection of an administrator.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A replica is connected within this.
const CONNECTED: Duration = Duration::from_secs(60);

/// How many servers, and what they promise.
#[derive(Clone, Copy, Debug)]
pub struct ServersOptions {
    /// Host groups, at least 1.
    pub groups: usize,
    /// Servers of each group, at least 1: one in each region.
    pub places: usize,
    /// What an acknowledged write is worth, if groups have more than one server.
    pub mode: ReplicationMode,
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
                    ..FleetOptions::new(binary.clone(), options.groups)
                };
                Kind::Local(Fleet::start(fleet).await.context("start the database servers")?)
            }
            Source::Image(image) => Kind::Containers(Containers::start(image, options).await?),
            Source::Given(dsns) => Kind::Given(Given::check(dsns, options).await?),
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
    pub fn fleet(&self) -> Result<&Fleet> {
        match &self.kind {
            Kind::Local(fleet) => Ok(fleet),
            Kind::Containers(_) | Kind::Given(_) => {
                bail!("needs database servers that are processes of this machine")
            }
        }
    }

    /// As [`Servers::fleet`], to change it.
    ///
    /// # Errors
    /// The same.
    pub fn fleet_mut(&mut self) -> Result<&mut Fleet> {
        match &mut self.kind {
            Kind::Local(fleet) => Ok(fleet),
            Kind::Containers(_) | Kind::Given(_) => {
                bail!("needs database servers that are processes of this machine")
            }
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

    /// `host:port` of a server.
    ///
    /// # Errors
    /// There is none of this index.
    pub fn address(&self, index: usize) -> Result<String> {
        Ok(self.admin(index)?.address().to_owned())
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
        for group in 0..self.options.groups {
            let place = primaries.get(group).copied().unwrap_or_default();
            let primary = self.index(group, place)?;
            self.open(primary).await?;
            for other in (0..self.options.places).filter(|other| *other != place) {
                self.follow(self.index(group, other)?, primary, through(group, other)).await?;
            }
        }
        Ok(())
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

    /// Ends a server as a crash would. Its data stays for [`Servers::restart`].
    ///
    /// # Errors
    /// It is not ours to kill, or does not run.
    pub async fn kill(&mut self, index: usize) -> Result<()> {
        match &mut self.kind {
            Kind::Local(fleet) => Ok(fleet.kill(index).await?),
            Kind::Containers(containers) => containers.kill(index).await,
            Kind::Given(given) => given.refuse("kill", index),
        }
    }

    /// Starts a server again that was killed. A replica goes on following; a primary with replicas comes back shut, see
    /// [`Servers::open`].
    ///
    /// # Errors
    /// It is not ours to start, or does not become ready.
    pub async fn restart(&mut self, index: usize) -> Result<()> {
        match &mut self.kind {
            Kind::Local(fleet) => return Ok(fleet.restart(index).await?),
            Kind::Containers(containers) => containers.restart(index).await?,
            Kind::Given(given) => return given.refuse("restart", index),
        }
        // What a fleet does by itself.
        let admin = self.admin(index)?;
        if self.options.places > 1 && admin.role().await?.following.is_some() {
            admin.set_mode(self.options.mode, tao_shard_store::replication::Side::Replica).await?;
            admin.start_replication().await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The servers of a fleet, as if somebody else ran them.
    #[tokio::test]
    async fn given_servers_are_set_up_like_our_own_and_are_not_ours_to_kill() {
        let Ok(source) = Source::parse("") else { return };
        let options = ServersOptions { groups: 1, places: 2, mode: ReplicationMode::Async };
        let others = Servers::start(&source, options).await.unwrap();
        let dsns = vec![vec![others.dsn(0).unwrap(), others.dsn(1).unwrap()]];
        let mut given = Servers::start(&Source::Given(dsns.clone()), options).await.unwrap();
        given.replicate(&[1], &|_, _| None).await.unwrap();
        let (replica, primary) = (given.admin(0).unwrap(), given.admin(1).unwrap());
        assert!(!primary.role().await.unwrap().read_only);
        assert!(replica.role().await.unwrap().following.is_some_and(|following| following.connected));
        let error = given.kill(0).await.unwrap_err().to_string();
        assert!(error.contains("not ours to kill"), "{error}");
        let more = ServersOptions { groups: 2, ..options };
        let error = Servers::start(&Source::Given(dsns), more).await.err().unwrap().to_string();
        assert!(error.contains("2 host groups"), "{error}");
    }
}
