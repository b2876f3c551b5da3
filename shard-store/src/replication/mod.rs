//! Replication between the servers of a host group, as an administrator sets it up and turns it round (DESIGN section 5,
//! PROTOCOL R5, R24): by GTID, on MariaDB and MySQL alike.
//!
//! # Accounts
//!
//! `read_only` must hold against the account of the leaders, or nothing fences a server: neither a heartbeat nor a late
//! commit may reach one that is being replaced. So that account must not have SUPER, nor READ_ONLY ADMIN (MariaDB) or
//! CONNECTION_ADMIN (MySQL). Administration needs them: [`ServerAdmin`] takes on the role `tao_admin` if the account of
//! its DSN was granted it (not as a default role), else it needs them in the account itself.
//!
//! # What is promised
//!
//! - Servers start read-only by their configuration, and only a deliberate act opens one.
//! - What these sessions set is not written to the binlog; a replica gets no transaction of its own by them. The one
//!   exception is [`ServerAdmin::open_epochs`], which is for the replicas, too.
//! - Every call can be repeated: it does what is still to be done.

mod address;
mod epochs;
mod mode;
mod roles;
mod session;
mod statements;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::{Duration, Instant};

use mysql_async::{Opts, OptsBuilder};

pub use self::address::SourceAddress;
pub use self::epochs::{EpochChange, OpenedEpochs};
pub use self::mode::{Lossless, Side};
pub use self::roles::{Followed, Opened};
pub use self::statements::Following;

use self::address::parse;
use self::session::Session;
use self::statements::{CONTINUE_OWN, Flavour, LOCK, UNLOCK, position, quoted};
use crate::log::LogPosition;
use crate::store::{StoreError, StoreErrorKind};

/// Between two looks at a server that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The database that holds the tables, unless the DSN names one.
const DATABASE: &str = "tao";

/// A server, as an administrator reaches it. Each call opens a session of its own.
#[derive(Clone)]
pub struct ServerAdmin {
    opts: Opts,
    server: String,
    database: String,
    connect_limit: Duration,
}

/// What a server is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Role {
    /// `server_id`, unlike that of every server that shares its log.
    pub server_id: u32,
    /// `server_uuid`; empty on MariaDB.
    pub server_uuid: String,
    /// Whether ordinary accounts can't write.
    pub read_only: bool,
    /// Whether nobody can; on MariaDB the same as `read_only`.
    pub super_read_only: bool,
    /// Whom it follows; `None`: nobody.
    pub following: Option<Following>,
}

impl fmt::Debug for ServerAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerAdmin({})", self.server)
    }
}

impl ServerAdmin {
    /// The server of a DSN. Nothing is connected yet. `connect_limit` bounds each later connection.
    ///
    /// # Errors
    /// `Rejected`: the DSN is not valid; the message does not show it.
    pub fn new(dsn: &str, connect_limit: Duration) -> Result<Self, StoreError> {
        let opts = parse(dsn)?;
        let server = format!("{}:{}", opts.ip_or_hostname(), opts.tcp_port());
        let database = opts.db_name().filter(|name| !name.is_empty()).unwrap_or(DATABASE).to_owned();
        let opts = OptsBuilder::from_opts(opts).prefer_socket(false).db_name(None::<String>).into();
        Ok(Self { opts, server, database, connect_limit })
    }

    /// As [`ServerAdmin::new`], and asks the server who it is.
    ///
    /// # Errors
    /// `Unavailable`: it does not answer. `Incompatible`: it does not let this account in.
    pub async fn connect(dsn: &str) -> Result<Self, StoreError> {
        let admin = Self::new(dsn, Duration::from_secs(5))?;
        admin.role().await?;
        Ok(admin)
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.server
    }

    /// Who the server is, and whom it follows.
    ///
    /// # Errors
    /// The server does not answer, or the account may not ask.
    pub async fn role(&self) -> Result<Role, StoreError> {
        let mut session = self.session().await?;
        let (server_id, server_uuid, read_only, super_read_only): (u32, String, bool, bool) =
            session.row(&session.dialect.identity).await?;
        let following = following(&mut session).await?;
        session.close().await;
        Ok(Role { server_id, server_uuid, read_only, super_read_only, following })
    }

    /// Every transaction that the server has executed. The last ones of those may not be visible yet: see
    /// [`ServerAdmin::wait_executed`].
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn executed(&self) -> Result<LogPosition, StoreError> {
        let mut session = self.session().await?;
        let (executed, _) = positions(&mut session).await?;
        session.close().await;
        Ok(executed)
    }

    /// Shuts the server, or opens it. When it is shut, no commit of an account that must respect `read_only` slips through
    /// afterwards, and the position that comes back has everything that did.
    ///
    /// # Errors
    /// The server does not answer; a commit or statement is still under way after 20 s (on a lossless primary: a commit
    /// that no replica acknowledges). The call may be repeated.
    pub async fn set_read_only(&self, read_only: bool) -> Result<LogPosition, StoreError> {
        let mut session = self.session().await?;
        if read_only {
            session.run(&session.dialect.close).await?;
            // A commit may have passed the check of `read_only` and not be through yet. This lock waits for such.
            session.run(&LOCK).await?;
        } else {
            session.run(&session.dialect.open).await?;
        }
        let (executed, _) = positions(&mut session).await?;
        if read_only {
            session.run(&UNLOCK).await?;
        }
        session.close().await;
        Ok(executed)
    }

    /// Makes the server a replica of `source` and starts it. It stays as it was if it follows that address already and
    /// both of its threads are on. Does not wait for the connection.
    ///
    /// The server goes on after everything that it has executed, by itself or by replication. So it must have nothing
    /// that the source lacks; the caller checks that (`executed().without(..)`, H22).
    ///
    /// # Errors
    /// `Rejected`: the server is not read-only: a replica that takes writes would become another primary. Else the server
    /// does not answer or refuses.
    pub async fn replicate_from(&self, source: &SourceAddress) -> Result<(), StoreError> {
        let mut session = self.session().await?;
        let (_, _, read_only, _): (u32, String, bool, bool) = session.row(&session.dialect.identity).await?;
        if !read_only {
            let message = format!("{}: takes writes; shut it before it becomes a replica", self.server);
            return Err(StoreError::new(StoreErrorKind::Rejected, message));
        }
        let dialect = session.dialect;
        let now = following(&mut session).await?;
        if let Some(now) = &now {
            if now.source == source.address() && now.receiver_on && now.applier_on {
                session.close().await;
                return Ok(());
            }
            session.run(&dialect.stop).await?;
        } else if dialect.flavour == Flavour::MariaDb {
            session.run(&CONTINUE_OWN).await?;
        }
        let text = dialect.change_source.body();
        let text = text
            .replace("{host}", &quoted(&source.host))
            .replace("{port}", &source.port.to_string())
            .replace("{user}", &quoted(&source.user))
            .replace("{password}", &quoted(&source.password));
        session.run_text(&dialect.change_source, &text).await?;
        session.run(&dialect.start).await?;
        session.close().await;
        Ok(())
    }

    /// Stops replication; the server remembers its source. With `drain`, what was already fetched is applied first.
    ///
    /// # Errors
    /// The server does not answer; or applying stopped, or took longer than `limit`: then only the fetching is stopped.
    pub async fn stop_replication(&self, drain: bool, limit: Duration) -> Result<(), StoreError> {
        let mut session = self.session().await?;
        let dialect = session.dialect;
        if drain && following(&mut session).await?.is_some() {
            session.run(&dialect.stop_receiver).await?;
            let fetched =
                following(&mut session).await?.map(|following| following.retrieved).unwrap_or_default();
            self.wait(&mut session, &fetched, limit, true).await?;
        }
        if following(&mut session).await?.is_some() {
            session.run(&dialect.stop).await?;
        }
        session.close().await;
        Ok(())
    }

    /// Lets this replica apply everything so many seconds after its source committed it; 0: at once. What was fetched and not
    /// applied yet is fetched again, unless it is to be drained, in so much time at most.
    ///
    /// # Errors
    /// `Rejected`: it follows nobody. Else as [`ServerAdmin::stop_replication`].
    pub async fn delay_replication(&self, seconds: u32, drain: Option<Duration>) -> Result<(), StoreError> {
        self.stop_replication(drain.is_some(), drain.unwrap_or_default()).await?;
        let mut session = self.session().await?;
        let dialect = session.dialect;
        if following(&mut session).await?.is_none() {
            let message = format!("{}: follows nobody", self.server);
            return Err(StoreError::new(StoreErrorKind::Rejected, message));
        }
        let text = dialect.change_delay.body().replace("{seconds}", &seconds.to_string());
        session.run_text(&dialect.change_delay, &text).await?;
        session.run(&dialect.start).await?;
        session.close().await;
        Ok(())
    }

    /// Starts replication again from the source that the server remembers.
    ///
    /// # Errors
    /// The server does not answer, or has no source.
    pub async fn start_replication(&self) -> Result<(), StoreError> {
        let mut session = self.session().await?;
        session.run(&session.dialect.start).await?;
        session.close().await;
        Ok(())
    }

    /// Stops replication and forgets the source. What was fetched and not applied is lost: drain first.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn forget_source(&self) -> Result<(), StoreError> {
        let mut session = self.session().await?;
        if following(&mut session).await?.is_some() {
            session.run(&session.dialect.stop).await?;
            session.run(&session.dialect.forget).await?;
        }
        session.close().await;
        Ok(())
    }

    /// Waits until everything of `position` is executed and visible here.
    ///
    /// # Errors
    /// `Unavailable`: not within `limit`, or replication stands still with an error, which the message has.
    pub async fn wait_executed(&self, position: &LogPosition, limit: Duration) -> Result<(), StoreError> {
        let mut session = self.session().await?;
        self.wait(&mut session, position, limit, false).await?;
        session.close().await;
        Ok(())
    }

    /// Waits until the server is connected to its source and applies what it gets.
    ///
    /// # Errors
    /// `Unavailable`: not within `limit`, or replication stopped with an error (the source no longer has what follows, say);
    /// `Rejected`: it follows nobody.
    pub async fn wait_connected(&self, limit: Duration) -> Result<(), StoreError> {
        let mut session = self.session().await?;
        let start = Instant::now();
        loop {
            let Some(now) = following(&mut session).await? else {
                let message = format!("{}: follows nobody", self.server);
                return Err(StoreError::new(StoreErrorKind::Rejected, message));
            };
            if now.connected && now.applier_on {
                session.close().await;
                return Ok(());
            }
            if !now.receiver_on || !now.applier_on || start.elapsed() >= limit {
                let error = now.error.unwrap_or_else(|| format!("not connected within {limit:?}"));
                let message = format!("{}: replication from {}: {error}", self.server, now.source);
                return Err(StoreError::new(StoreErrorKind::Unavailable, message));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// `fetching_off`: it was stopped on purpose, and is no reason to give up.
    async fn wait(
        &self,
        session: &mut Session,
        wanted: &LogPosition,
        limit: Duration,
        fetching_off: bool,
    ) -> Result<(), StoreError> {
        let start = Instant::now();
        let mut applier_started = false;
        loop {
            let (executed, applied) = positions(session).await?;
            let following = following(session).await?;
            if executed.covers(wanted) && (following.is_none() || visible(&applied, wanted)) {
                return Ok(());
            }
            let stuck = |what: String| {
                let missing = wanted.without(&executed);
                let message = format!("{}: {what}; {missing} is missing", self.server);
                StoreError::new(StoreErrorKind::Unavailable, message)
            };
            match &following {
                // A drain wants the applier on, whoever stopped it.
                Some(now) if fetching_off && !now.applier_on && !applier_started => {
                    session.run(&session.dialect.start_applier).await?;
                    applier_started = true;
                }
                Some(now) if !now.applier_on || (!fetching_off && !now.receiver_on) => {
                    let error = now.error.clone().unwrap_or_else(|| "it was stopped".to_owned());
                    return Err(stuck(format!("replication from {} stands still: {error}", now.source)));
                }
                _ => {}
            }
            if start.elapsed() >= limit {
                let error = following.and_then(|following| following.error);
                let error = error.map(|error| format!(" ({error})")).unwrap_or_default();
                return Err(stuck(format!("not caught up within {limit:?}{error}")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn session(&self) -> Result<Session, StoreError> {
        Session::open(&self.opts, &self.server, self.connect_limit).await
    }
}

async fn following(session: &mut Session) -> Result<Option<Following>, StoreError> {
    let rows = session.rows(&session.dialect.status).await?;
    rows.first().map(|row| session.dialect.following(row, session.server())).transpose()
}

/// What was executed; what was applied by replication.
async fn positions(session: &mut Session) -> Result<(LogPosition, LogPosition), StoreError> {
    let (executed, applied): (String, String) = session.row(&session.dialect.positions).await?;
    Ok((position(&executed, session.server())?, position(&applied, session.server())?))
}

/// Whether a replica has committed all of `wanted`, by the last transactions that it applied. MySQL's sets say it
/// themselves. MariaDB has the last one of each domain, whose sequence numbers only grow, whoever the server (strict
/// mode): so a higher one stands for all before it.
fn visible(applied: &LogPosition, wanted: &LogPosition) -> bool {
    let domain =
        |source: &str| source.split_once('-').map_or_else(String::new, |(domain, _)| domain.to_owned());
    let last = |intervals: &[(u64, u64)]| intervals.last().map_or(0, |interval| interval.1);
    if wanted.sources().all(|(source, _)| source.matches('-').count() >= 4) {
        return applied.covers(wanted);
    }
    wanted.sources().all(|(source, intervals)| {
        let of_domain = applied.sources().filter(|(other, _)| domain(other) == domain(source));
        of_domain.map(|(_, intervals)| last(intervals)).max() >= Some(last(intervals))
    })
}
