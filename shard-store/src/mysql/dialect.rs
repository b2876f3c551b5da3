//! Where MariaDB and MySQL differ.

use super::statements::{PREFLIGHT_MARIADB, PREFLIGHT_MYSQL, Sql};

/// Which server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flavour {
    MariaDb,
    MySql,
}

/// A server's flavour and version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Dialect {
    pub(super) flavour: Flavour,
    pub(super) version: (u16, u16, u16),
}

impl Dialect {
    /// Reads what `SELECT VERSION()` answers: `10.11.19-MariaDB-0+deb12u1-log`, `9.7.4`.
    pub(super) fn parse(version: &str) -> Option<Self> {
        let flavour =
            if version.to_ascii_lowercase().contains("mariadb") { Flavour::MariaDb } else { Flavour::MySql };
        let numbers = version.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let mut parts = numbers.split('.').map(str::parse);
        let mut next = || parts.next()?.ok();
        Some(Self { flavour, version: (next()?, next()?, next()?) })
    }

    /// Whether this version is one we support: `SKIP LOCKED`, `JSON_TABLE` and the binlog forms that the tail reads.
    pub(super) fn supported(&self) -> bool {
        match self.flavour {
            Flavour::MariaDb => self.version >= (10, 11, 0),
            Flavour::MySql => self.version >= (8, 4, 0),
        }
    }

    /// The statement that reads the settings that R1 depends on.
    pub(super) const fn preflight(&self) -> &'static Sql {
        match self.flavour {
            Flavour::MariaDb => &PREFLIGHT_MARIADB,
            Flavour::MySql => &PREFLIGHT_MYSQL,
        }
    }

    /// Whether several statements may be one, without a stored procedure.
    pub(super) const fn has_blocks(&self) -> bool {
        matches!(self.flavour, Flavour::MariaDb)
    }

    /// As a person reads it.
    pub(super) fn describe(&self) -> String {
        let (major, minor, patch) = self.version;
        let name = match self.flavour {
            Flavour::MariaDb => "MariaDB",
            Flavour::MySql => "MySQL",
        };
        format!("{name} {major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart() {
        let check = |text: &str, described: &str, supported: bool| {
            let dialect = Dialect::parse(text).unwrap();
            assert_eq!((dialect.describe().as_str(), dialect.supported()), (described, supported));
        };
        check("10.11.19-MariaDB-0+deb12u1-log", "MariaDB 10.11.19", true);
        check("10.6.4-MariaDB", "MariaDB 10.6.4", false);
        check("9.7.4-2", "MySQL 9.7.4", true);
        check("8.0.36-debug", "MySQL 8.0.36", false);
        assert_eq!(Dialect::parse("something"), None);
    }
}
