//! Finding a database server program and asking what it is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::FleetError;

/// Names one server program for everything that needs just one.
pub const SERVER_VARIABLE: &str = "TAO_MYSQLD";
/// Names the MariaDB server program for tests.
pub const MARIADB_VARIABLE: &str = "TAO_MARIADBD";
/// Names the MySQL server program for tests.
pub const MYSQL_VARIABLE: &str = "TAO_MYSQL_MYSQLD";
/// Set to `1`: tests that find no server at all fail instead of doing less.
pub const REQUIRE_VARIABLE: &str = "TAO_REQUIRE_DB";

/// Where distributions put servers that are not on everybody's PATH; looked at after the PATH, in this order.
const USUAL_FOLDERS: [&str; 6] = [
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/libexec",
    "/usr/local/bin",
    "/usr/local/mysql/bin",
    "/opt/homebrew/bin",
];

/// The two families of servers that speak the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// MariaDB, 10.11 or later.
    MariaDb,
    /// MySQL, 8.4 or later.
    MySql,
}

/// A server program of known flavour and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerBinary {
    path: PathBuf,
    flavour: Flavour,
    version: String,
}

/// The servers that tests run on: MariaDB (through `TAO_MARIADBD`, else found like [`ServerBinary::find`] does) and
/// MySQL (through `TAO_MYSQL_MYSQLD`), those that exist, MariaDB first.
///
/// # Errors
/// A variable names something that is no server of its flavour; or nothing was found and `TAO_REQUIRE_DB` is `1`.
pub fn test_servers() -> Result<Vec<ServerBinary>, FleetError> {
    let mut found = Vec::new();
    let mut refusal = None;
    match variable(MARIADB_VARIABLE) {
        Some(path) => found.push(ServerBinary::at(&path)?.expect_flavour(Flavour::MariaDb)?),
        None => found.extend(on_path(&["mariadbd", "mysqld"]).find_map(|path| {
            let binary = ServerBinary::at(&path).and_then(|binary| binary.expect_flavour(Flavour::MariaDb));
            // Too old, perhaps: if nothing better comes, that is what a person must know.
            binary.map_err(|error| refusal = refusal.take().or(Some(error))).ok()
        })),
    }
    if let Some(path) = variable(MYSQL_VARIABLE) {
        found.push(ServerBinary::at(&path)?.expect_flavour(Flavour::MySql)?);
    }
    if found.is_empty() && std::env::var(REQUIRE_VARIABLE).is_ok_and(|value| value == "1") {
        let nothing = || FleetError::NoBinary { looked: looked(), variable: MARIADB_VARIABLE };
        return Err(refusal.unwrap_or_else(nothing));
    }
    Ok(found)
}

// === impl ServerBinary ===

impl ServerBinary {
    /// The server to use when the user has said nothing else: `TAO_MYSQLD` if set; else the first usable `mysqld`,
    /// else the first usable `mariadbd`, each looked for on the PATH and then where distributions put servers.
    /// (MySQL wins where both are installed; where only MariaDB is, `mysqld` is often a link to it.)
    ///
    /// # Errors
    /// Nothing was found, or `TAO_MYSQLD` names something that is no usable server.
    pub fn find() -> Result<Self, FleetError> {
        if let Some(path) = variable(SERVER_VARIABLE) {
            return Self::at(&path);
        }
        let mut refusal = None;
        for path in on_path(&["mysqld", "mariadbd"]) {
            match Self::at(&path) {
                Ok(binary) => return Ok(binary),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        Err(refusal.unwrap_or_else(|| FleetError::NoBinary { looked: looked(), variable: SERVER_VARIABLE }))
    }

    /// The server program at `path`, asked for its version.
    ///
    /// # Errors
    /// It can't be run, does not say a version, or is too old.
    pub fn at(path: &Path) -> Result<Self, FleetError> {
        let bad = |reason: String| FleetError::BadBinary { path: path.to_owned(), reason };
        let path = std::path::absolute(path).map_err(|error| bad(error.to_string()))?;
        let output = Command::new(&path).arg("--version").output().map_err(|error| bad(error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let (flavour, version) =
            parse_version(&text).ok_or_else(|| bad(format!("--version says {:?}", text.trim())))?;
        let oldest = flavour.oldest();
        if numbers(&version) < numbers(oldest) {
            return Err(bad(format!("it is {flavour} {version}; {oldest} or later is needed")));
        }
        Ok(Self { path, flavour, version })
    }

    /// The program file, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which family it is of.
    #[must_use]
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// The version's numbers: `10.11.19`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    fn expect_flavour(self, flavour: Flavour) -> Result<Self, FleetError> {
        if self.flavour == flavour {
            return Ok(self);
        }
        Err(FleetError::BadBinary { reason: format!("it is {self}, not {flavour}"), path: self.path })
    }
}

/// As a person reads it: `MariaDB 10.11.19`.
impl fmt::Display for ServerBinary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.flavour, self.version)
    }
}

// === impl Flavour ===

impl Flavour {
    /// The oldest version that has what the engine's SQL and the binlog tail need.
    fn oldest(self) -> &'static str {
        match self {
            Self::MariaDb => "10.11",
            Self::MySql => "8.4",
        }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MariaDb => "MariaDB",
            Self::MySql => "MySQL",
        })
    }
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Existing files of these names, name by name.
fn on_path(names: &'static [&'static str]) -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .chain(USUAL_FOLDERS.iter().map(PathBuf::from))
        .collect();
    names
        .iter()
        .flat_map(move |name| folders.iter().map(|folder| folder.join(name)).collect::<Vec<_>>())
        .filter(|file| file.is_file())
}

fn looked() -> String {
    format!("looked for mysqld and mariadbd on the PATH and in {}", USUAL_FOLDERS.join(", "))
}

/// `mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))` → MySQL, `9.7.4`.
fn parse_version(text: &str) -> Option<(Flavour, String)> {
    let word = text.split_once("Ver ")?.1.split_whitespace().next()?;
    let version: String = word.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let flavour = if word.contains("MariaDB") { Flavour::MariaDb } else { Flavour::MySql };
    (!numbers(&version).is_empty()).then_some((flavour, version))
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_both_flavours_are_read() {
        let cases = [
            (
                "/usr/sbin/mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)",
                Some((Flavour::MariaDb, "10.11.19")),
            ),
            ("mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))", Some((Flavour::MySql, "9.7.4"))),
            (
                "/usr/sbin/mysqld  Ver 8.4.0 for Linux on aarch64 (MySQL Community)",
                Some((Flavour::MySql, "8.4.0")),
            ),
            ("GNU bash, version 5.2.15(1)-release", None),
            ("Ver unknown", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(flavour, version)| (flavour, version.to_owned()));
            assert_eq!(parse_version(text), expected, "{text}");
        }
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(numbers("10.6.22") < numbers(Flavour::MariaDb.oldest()));
        assert!(numbers("8.0.46") < numbers(Flavour::MySql.oldest()));
        for (flavour, version) in [
            (Flavour::MariaDb, "10.11"),
            (Flavour::MariaDb, "11.8.2"),
            (Flavour::MySql, "8.4.0"),
            (Flavour::MySql, "10.0.1"),
        ] {
            assert!(numbers(version) >= numbers(flavour.oldest()), "{flavour} {version}");
        }
    }

    #[test]
    fn what_is_no_server_is_refused_by_name() {
        let error = ServerBinary::at(Path::new("/bin/echo")).unwrap_err().to_string();
        assert!(error.contains("/bin/echo"), "{error}");
        let error = ServerBinary::at(Path::new("/nowhere/mysqld")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/mysqld"), "{error}");
    }
}
