//! Where a replica finds its source.

use std::fmt;

use mysql_async::Opts;

use crate::store::{StoreError, StoreErrorKind};

/// Where a replica gets its source's log.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceAddress {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) password: String,
}

impl SourceAddress {
    /// Of a DSN, whose account must have REPLICATION SLAVE (on MySQL without TLS, too).
    ///
    /// # Errors
    /// `Rejected`: the DSN is not valid; the message does not show it.
    pub fn of(dsn: &str) -> Result<Self, StoreError> {
        let opts = parse(dsn)?;
        Ok(Self {
            host: opts.ip_or_hostname().to_owned(),
            port: opts.tcp_port(),
            user: opts.user().unwrap_or_default().to_owned(),
            password: opts.pass().unwrap_or_default().to_owned(),
        })
    }

    /// The same server through another address: of a tunnel, say.
    #[must_use]
    pub fn through(self, host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, ..self }
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for SourceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceAddress({}@{})", self.user, self.address())
    }
}

/// The driver's view of a DSN.
pub(super) fn parse(dsn: &str) -> Result<Opts, StoreError> {
    // The driver's error may quote the password.
    Opts::from_url(dsn).map_err(|_| {
        let message = "database address: not valid; expected mysql://user:password@host:port";
        StoreError::new(StoreErrorKind::Rejected, message)
    })
}
