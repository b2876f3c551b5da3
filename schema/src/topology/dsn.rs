//! Data source names, kept from logs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How to reach a database server, for example `mysql://user:password@host:3306/database`.
///
/// It may hold a password, so [`fmt::Debug`] and [`fmt::Display`] leave that out; [`Dsn::expose`] has it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Dsn(String);

impl Dsn {
    /// Takes a DSN as it is.
    pub fn new(dsn: impl Into<String>) -> Self {
        Self(dsn.into())
    }

    /// The whole DSN, password included: for connecting, never for a log.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Dsn {
    /// `scheme://user:***@host/database`. What can't be told from a secret is not shown: a DSN without a scheme, and
    /// everything after a question mark. A password that holds an unescaped `@`, `/` or `?` stays hidden, too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else { return f.write_str("***") };
        write!(f, "{scheme}://")?;
        let Some((login, place)) = rest.rsplit_once('@') else {
            // Without a login there is no password, unless in the parameters.
            return f.write_str(rest.split('?').next().unwrap_or_default());
        };
        match login.split_once(':') {
            Some((user, _)) => write!(f, "{user}:***@")?,
            None => write!(f, "{login}@")?,
        }
        f.write_str(place.split('?').next().unwrap_or_default())
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dsn({self})")
    }
}
