//! The files of a server that somebody else starts: a container, say.

use super::binary::Flavour;
use super::{config, identity};

/// What makes a server one of the tier's, as a fleet's own are: durable, with a log that can be followed, and with the
/// account that administration expects.
#[derive(Clone)]
pub struct ServerFiles {
    /// For a folder whose `*.cnf` the server reads.
    pub settings: String,
    /// As `settings`, from the second start on: the server then starts shut, and replication waits to be told.
    pub shut: String,
    /// Statements that make the account, for `init_file`. They hold the password.
    pub account: String,
}

impl ServerFiles {
    /// For a server that listens on this port of 127.0.0.1. The password must be letters and digits; `init_file` is where
    /// [`ServerFiles::account`] will be.
    #[must_use]
    pub fn new(flavour: Flavour, port: u16, server_id: u32, password: &str, init_file: &str) -> Self {
        let settings = config::placeless_settings(flavour, port, server_id);
        Self {
            settings: format!("[mysqld]\ninit_file={init_file}\n{settings}"),
            shut: format!("[mysqld]\n{}", config::shut_settings(flavour)),
            account: identity::account_sql(flavour, password),
        }
    }
}

impl std::fmt::Debug for ServerFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerFiles").field("settings", &self.settings).finish_non_exhaustive()
    }
}
