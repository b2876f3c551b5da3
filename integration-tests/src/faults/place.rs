//! Names for the ends of connections.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An end of connections.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The applications in a region.
    Client(String),
    /// A leader or follower, by its name in the topology.
    Node(String),
    /// A database server.
    Server {
        /// Its host group, as in the topology.
        group: u16,
        /// Its region.
        region: String,
    },
}

/// Several ends.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ends {
    /// All of them.
    All,
    /// Everything in a region: clients, nodes and servers.
    Region(String),
    /// These.
    Of(Vec<Place>),
}

/// What travels from some ends to others, whoever opened the connections.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Flow {
    /// Who sends.
    pub from: Ends,
    /// Who gets it.
    pub to: Ends,
}

impl Place {
    /// The database server of a host group in a region.
    pub fn server(group: u16, region: impl Into<String>) -> Self {
        Self::Server { group, region: region.into() }
    }

    /// A node of this name.
    pub fn node(name: impl Into<String>) -> Self {
        Self::Node(name.into())
    }

    /// The applications in a region.
    pub fn client(region: impl Into<String>) -> Self {
        Self::Client(region.into())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(region) => write!(f, "clients@{region}"),
            Self::Node(name) => f.write_str(name),
            Self::Server { group, region } => write!(f, "server-{group}@{region}"),
        }
    }
}

impl From<Place> for Ends {
    fn from(place: Place) -> Self {
        Self::Of(vec![place])
    }
}

impl Ends {
    /// Whether an end that lies in `region` is one of them.
    pub fn contains(&self, place: &Place, region: &str) -> bool {
        match self {
            Self::All => true,
            Self::Region(name) => name == region,
            Self::Of(places) => places.contains(place),
        }
    }
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Region(name) => f.write_str(name),
            Self::Of(places) => {
                let places: Vec<String> = places.iter().map(Place::to_string).collect();
                f.write_str(&places.join("+"))
            }
        }
    }
}

impl Flow {
    /// From some ends to others, one way.
    pub fn one_way(from: impl Into<Ends>, to: impl Into<Ends>) -> Vec<Self> {
        vec![Self { from: from.into(), to: to.into() }]
    }

    /// Between some ends and others, both ways.
    pub fn both_ways(one: impl Into<Ends>, other: impl Into<Ends>) -> Vec<Self> {
        let (one, other) = (one.into(), other.into());
        vec![Self { from: one.clone(), to: other.clone() }, Self { from: other, to: one }]
    }

    /// Everything from and to one end.
    pub fn of(place: Place) -> Vec<Self> {
        Self::both_ways(place, Ends::All)
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.from, self.to)
    }
}
