//! What a fleet's data folder says about itself: who may log in, and which engine the data belongs to.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::binary::{Flavour, ServerBinary};
use super::error::{FleetError, IoContext as _};

/// The account that the fleet makes on each server.
const USER: &str = "tao";

/// Address and credentials of one server, as clients take them. Does not show the password when printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Dsn {
    port: u16,
    password: String,
}

/// The file `fleet.json` in the data folder; readable for its owner only.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    /// Flavour that made the data: MariaDB and MySQL can't read each other's.
    flavour: String,
    /// Hexadecimal, so that it needs no quoting anywhere.
    password: String,
    /// Server ids are this plus the index; random, so that the fleets of several regions differ.
    pub(super) first_server_id: u32,
    /// The ports of the last start, by index; taken again if they are free.
    #[serde(default)]
    pub(super) ports: Vec<u16>,
}

// === impl Dsn ===

impl Dsn {
    /// The whole address, password included: `mysql://user:password@127.0.0.1:port/?prefer_socket=false`. Not for logs.
    ///
    /// The parameter keeps `mysql_async` on TCP: otherwise it leaves the address given (a fault proxy's, say) for the
    /// server's Unix socket.
    #[must_use]
    pub fn expose(&self) -> String {
        format!("mysql://{USER}:{}@127.0.0.1:{}/?prefer_socket=false", self.password, self.port)
    }
}

impl fmt::Display for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mysql://{USER}:***@127.0.0.1:{}/", self.port)
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dsn({self})")
    }
}

// === impl Identity ===

impl Identity {
    /// Reads the folder's identity, or makes a new one (not yet saved) for a folder that has none.
    pub(super) fn load(folder: &Path, binary: &ServerBinary) -> Result<Self, FleetError> {
        let path = folder.join("fleet.json");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::new(binary)),
            Err(error) => return Err(error).at("read", &path),
        };
        let identity: Self = serde_json::from_str(&text)
            .map_err(|error| FleetError::BadData { path: path.clone(), reason: error.to_string() })?;
        if identity.flavour != binary.flavour().to_string() {
            let reason = format!("its data was made by {}, the server found is {binary}", identity.flavour);
            return Err(FleetError::BadData { path: folder.to_owned(), reason });
        }
        Ok(identity)
    }

    fn new(binary: &ServerBinary) -> Self {
        Self {
            flavour: binary.flavour().to_string(),
            password: format!("{:032x}", rand::random::<u128>()),
            // Room for the index on top, none for 0, which would switch replication off.
            first_server_id: rand::random_range(1..u32::MAX / 2),
            ports: Vec::new(),
        }
    }

    /// Replaces the file atomically.
    pub(super) fn save(&self, folder: &Path) -> Result<(), FleetError> {
        let path = folder.join("fleet.json");
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::other).at("encode", &path)?;
        // A named temporary file is readable for its owner only from the start.
        let mut file = tempfile::NamedTempFile::new_in(folder).at("create a file in", folder)?;
        file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).at("write", &path)?;
        file.persist(&path).map_err(|error| error.error).at("replace", &path)?;
        Ok(())
    }

    /// The same identity on these ports.
    pub(super) fn with_ports(&self, ports: Vec<u16>) -> Self {
        Self { flavour: self.flavour.clone(), password: self.password.clone(), ports, ..*self }
    }

    pub(super) fn dsn(&self, port: u16) -> Dsn {
        Dsn { port, password: self.password.clone() }
    }

    /// The statements that make the account, run by the server at every start before it takes connections, and kept
    /// out of its binlog: they are this server's own affair, not a replica's. The account may do everything but write on
    /// a read-only server; for that it has a role, which it takes on deliberately (see [`crate::replication`]).
    pub(super) fn account_sql(&self, binary: &ServerBinary) -> String {
        account_sql(binary.flavour(), &self.password)
    }
}

/// See [`Identity::account_sql`]. The password must need no quoting.
pub(super) fn account_sql(flavour: Flavour, password: &str) -> String {
    let mut text = include_str!("sql/account.sql").replace("{password}", password);
    text.push_str(match flavour {
        Flavour::MariaDb => include_str!("sql/account_mariadb.sql"),
        Flavour::MySql => include_str!("sql/account_mysql.sql"),
    });
    text
}
