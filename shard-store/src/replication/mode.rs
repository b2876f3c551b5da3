//! What an acknowledged write is worth (R5): semi-synchronous replication, or none.

use tao_schema::topology::ReplicationMode;

use super::statements::{Flavour, INSTALL_REPLICA, INSTALL_SOURCE, PLUGINS, Sql};
use super::{ServerAdmin, Session, following};
use crate::store::{StoreError, StoreErrorKind};

/// Which end of replication a server is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Its commits wait.
    Primary,
    /// It acknowledges.
    Replica,
}

/// Which parts of the lossless mode are on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lossless {
    /// Commits wait for a replica, without a time limit, before they become visible, also while there is none.
    pub waits: bool,
    /// What is fetched from the source is acknowledged.
    pub acknowledges: bool,
}

impl ServerAdmin {
    /// Sets the mode for what the server is. Settings of a server are gone when it restarts: set the mode again before it
    /// is opened or follows.
    ///
    /// On MariaDB a server that may be opened again after a crash must *not* have `rpl_semi_sync_slave_enabled` in its
    /// configuration: it would then take back, as it starts, transactions that replicas may already have (MDEV-21117).
    ///
    /// A replica must not fetch anything before its mode is set (`skip_slave_start`, `skip_replica_start`): what it has
    /// fetched without it is never acknowledged, and a commit waits for the acknowledgement of a later one.
    ///
    /// # Errors
    /// `Incompatible`: a MySQL server without the plugins `semisync_source` and `semisync_replica`. Else the server does
    /// not answer or refuses.
    pub async fn set_mode(&self, mode: ReplicationMode, side: Side) -> Result<(), StoreError> {
        let wanted = match (mode, side) {
            (ReplicationMode::Async, _) => Lossless::default(),
            (ReplicationMode::Lossless, Side::Primary) => Lossless { waits: true, acknowledges: false },
            (ReplicationMode::Lossless, Side::Replica) => Lossless { waits: false, acknowledges: true },
        };
        let mut session = self.session().await?;
        let dialect = session.dialect;
        let before = lossless(&mut session).await?;
        if before == Some(wanted) || (before.is_none() && mode == ReplicationMode::Async) {
            session.close().await;
            return Ok(());
        }
        if before.is_none() {
            install(&mut session).await?;
        }
        let statement = match (mode, side) {
            (ReplicationMode::Async, _) => &dialect.asynchronous,
            (ReplicationMode::Lossless, Side::Primary) => &dialect.lossless_primary,
            (ReplicationMode::Lossless, Side::Replica) => &dialect.lossless_replica,
        };
        session.run(statement).await?;
        // Whether it acknowledges, a replica tells its source when it connects.
        if following(&mut session).await?.is_some_and(|following| following.receiver_on) {
            session.run(&dialect.stop_receiver).await?;
            session.run(&dialect.start_receiver).await?;
        }
        session.close().await;
        Ok(())
    }

    /// Which parts of the lossless mode are on.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn lossless(&self) -> Result<Lossless, StoreError> {
        let mut session = self.session().await?;
        let found = lossless(&mut session).await?;
        session.close().await;
        Ok(found.unwrap_or_default())
    }
}

/// `None`: the server has no such settings, because it lacks the plugins.
async fn lossless(session: &mut Session) -> Result<Option<Lossless>, StoreError> {
    if session.dialect.flavour == Flavour::MySql {
        let (plugins,): (u64,) = session.row(&PLUGINS).await?;
        if plugins < 2 {
            return Ok(None);
        }
    }
    let (waits, acknowledges, without_limit): (bool, bool, bool) = session.row(&session.dialect.mode).await?;
    // One that gives up waiting is not lossless.
    Ok(Some(Lossless { waits: waits && without_limit, acknowledges }))
}

/// The plugins of MySQL, which stay installed. Nobody else can write meanwhile, if the server was read-only.
async fn install(session: &mut Session) -> Result<(), StoreError> {
    let dialect = session.dialect;
    let (_, _, _, shut): (u32, String, bool, bool) = session.row(&dialect.identity).await?;
    if shut {
        session.run(&dialect.admin_only).await?;
    }
    let mut done = Ok(());
    for plugin in [&INSTALL_SOURCE, &INSTALL_REPLICA] {
        done = done.and(install_one(session, plugin).await);
    }
    if shut {
        session.run(&dialect.close).await?;
    }
    done
}

async fn install_one(session: &mut Session, plugin: &Sql) -> Result<(), StoreError> {
    match session.run(plugin).await {
        // 1125, 1968: it is there already.
        Err(error) if !["(error 1125)", "(error 1968)"].iter().any(|code| error.message.contains(code)) => {
            let message = format!(
                "{}: the lossless mode needs the semi-synchronous replication plugins of MySQL: {}",
                session.server(),
                error.message
            );
            Err(StoreError::new(StoreErrorKind::Incompatible, message))
        }
        _ => Ok(()),
    }
}
