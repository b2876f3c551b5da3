//! Addresses as one node sees them: where a network in between, or `tao dev`, gives a place another name.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tao_schema::topology::Dsn;

/// Port of a DSN that names none.
const DATABASE_PORT: u16 = 3306;

/// `[translate]`: `"host:port" = "host:port"`, from what the topology says to where this node has to connect. Holds for
/// nodes and database servers alike; what is not listed stays as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Translate(BTreeMap<String, String>);

impl Translate {
    /// A map of these pairs.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(pairs.into_iter().collect())
    }

    /// Where to connect to reach `address` (`host:port`).
    pub fn address<'a>(&'a self, address: &'a str) -> &'a str {
        self.0.get(address).map_or(address, String::as_str)
    }

    /// The DSN with the server's place translated; user, password, database and parameters stay.
    pub fn dsn(&self, dsn: &Dsn) -> Dsn {
        let whole = dsn.expose();
        let Some(place) = place(whole) else { return dsn.clone() };
        let asked = &whole[place.clone()];
        let address = match asked.rsplit_once(':') {
            // In an IPv6 address the last colon is no port's unless it stands behind the bracket.
            Some((_, port)) if !port.contains(']') => Cow::Borrowed(asked),
            _ => Cow::Owned(format!("{asked}:{DATABASE_PORT}")),
        };
        match self.0.get(&*address) {
            Some(there) => Dsn::new(format!("{}{there}{}", &whole[..place.start], &whole[place.end..])),
            None => dsn.clone(),
        }
    }

    /// The first entry that is no pair of `host:port`.
    pub(crate) fn wrong(&self) -> Option<(&str, &str)> {
        let fits = |address: &str| {
            let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
            port.and_then(|port| port.parse::<u16>().ok()).is_some_and(|port| port != 0)
        };
        self.0
            .iter()
            .find(|(from, to)| !fits(from) || !fits(to))
            .map(|(from, to)| (from.as_str(), to.as_str()))
    }
}

/// `host:port` of a DSN, for people and as the key of a translation; never user or password.
pub fn server_address(dsn: &Dsn) -> String {
    let whole = dsn.expose();
    match place(whole) {
        Some(place) => {
            let asked = &whole[place];
            match asked.rsplit_once(':') {
                Some((_, port)) if !port.contains(']') => asked.to_owned(),
                _ => format!("{asked}:{DATABASE_PORT}"),
            }
        }
        None => "?".to_owned(),
    }
}

/// Where host and port stand in a DSN: behind the last `@` of what comes before the path or the parameters.
fn place(dsn: &str) -> Option<std::ops::Range<usize>> {
    let start = dsn.find("://")? + 3;
    let rest = &dsn[start..];
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = rest[..end].rfind('@').map_or(0, |at| at + 1);
    (host < end).then_some(start + host..start + end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_servers_are_translated_and_nothing_else_is() {
        let translate = Translate::new([
            ("10.0.0.1:3306".to_owned(), "127.0.0.1:9001".to_owned()),
            ("leader.east:7400".to_owned(), "[::1]:9002".to_owned()),
        ]);
        assert_eq!(translate.address("leader.east:7400"), "[::1]:9002");
        assert_eq!(translate.address("leader.west:7400"), "leader.west:7400");
        for (from, to) in [
            ("mysql://tao:secret@10.0.0.1:3306/tao", "mysql://tao:secret@127.0.0.1:9001/tao"),
            ("mysql://tao:p@ss@10.0.0.1?a=b", "mysql://tao:p@ss@127.0.0.1:9001?a=b"),
            ("mysql://10.0.0.1:3306", "mysql://127.0.0.1:9001"),
            ("mysql://10.0.0.1:3307@host:1/", "mysql://10.0.0.1:3307@host:1/"),
            ("memory", "memory"),
        ] {
            assert_eq!(translate.dsn(&Dsn::new(from)), Dsn::new(to), "{from}");
        }
    }

    #[test]
    fn a_server_is_named_without_its_secrets() {
        assert_eq!(server_address(&Dsn::new("mysql://u:p%40@db.east:3307/tao?x=y")), "db.east:3307");
        assert_eq!(server_address(&Dsn::new("mysql://u:p@[::1]/")), "[::1]:3306");
        assert_eq!(server_address(&Dsn::new("secret")), "?");
    }

    #[test]
    fn an_entry_that_is_no_address_is_found() {
        let map = |from: &str, to: &str| Translate::new([(from.to_owned(), to.to_owned())]);
        assert_eq!(map("a:1", "b:2").wrong(), None);
        assert_eq!(map("a", "b:2").wrong(), Some(("a", "b:2")));
        assert_eq!(map("a:1", "b:0").wrong(), Some(("a:1", "b:0")));
    }
}
