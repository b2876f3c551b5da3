//! Servers that are there already, by their DSNs.
//!
//! # What is done to them
//!
//! A run makes servers read-only and each other's replicas, loses transactions on purpose, and throws logs away. So they must
//! be the harness's own: one that has any other database, or follows anybody, is refused, whatever was said. The harness's
//! own databases on it are dropped only if that was said ([`GivenServers::may_empty`]), and only if the topology stored
//! beside them is of the harness's cluster and lists that server. All servers are looked at before anything is changed on
//! any.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error as Driver, Opts, OptsBuilder};
use tao_schema::topology::{Dsn, Topology};
use tao_server::translate::server_address;
use tao_shard_store::replication::ServerAdmin;

use super::{CLUSTER, CONNECT_LIMIT, GivenServers, ServersOptions};
use crate::faults::Impossible;

const SET_ROLE: &str = include_str!("../../sql/servers/set_role.sql");
const VERSION: &str = include_str!("../../sql/servers/version.sql");
const SEES_ALL: &str = include_str!("../../sql/servers/sees_all.sql");
const STRANGERS: &str = include_str!("../../sql/servers/strangers.sql");
const HOLDS: &str = include_str!("../../sql/servers/holds.sql");
const TOPOLOGIES: &str = include_str!("../../sql/servers/topologies.sql");
const TOPOLOGY: &str = include_str!("../../sql/servers/topology.sql");
/// One statement on each line, as the next two.
const EMPTY: &str = include_str!("../../sql/servers/empty.sql");
const FORGET_LOG_MARIADB: &str = include_str!("../../sql/servers/forget_log_mariadb.sql");
const FORGET_LOG_MYSQL: &str = include_str!("../../sql/servers/forget_log_mysql.sql");
/// The only database that the harness knows.
const DATABASE: &str = "tao";

/// Servers that somebody else runs.
pub(super) struct Given {
    /// By index.
    dsns: Vec<String>,
}

/// A session on a server, as its administrator.
struct Session(Conn);

/// What was found on a server.
struct Found {
    admin: ServerAdmin,
    dsn: String,
    /// `host:port`, as topologies name it.
    address: String,
    /// Whether the harness's databases are there.
    tables: bool,
    /// Whom it follows.
    follows: Option<String>,
    /// Addresses of all servers of the run that left these, if this server knows.
    servers: Vec<String>,
}

impl Given {
    /// Looks at each, so that a wrong address or account shows before anything is started. Then takes away what an earlier
    /// run left, if that may be done: who follows whom, the tables, and the log of their changes. (A run that ended with
    /// another region as the master, or in the middle of a promotion, left servers that can't follow each other.) A server
    /// that holds nothing keeps its log.
    pub(super) async fn take(given: &GivenServers, options: ServersOptions) -> Result<Self> {
        let groups = &given.groups;
        let enough =
            groups.len() >= options.groups && groups.iter().all(|group| group.len() >= options.places);
        ensure!(
            enough,
            "{} host groups in {} regions are needed; the servers given are {}",
            options.groups,
            options.places,
            groups.iter().map(|group| group.len().to_string()).collect::<Vec<_>>().join(" + ")
        );
        let mut found = Vec::new();
        for place in 0..options.places {
            for group in &groups[..options.groups] {
                found.push(look(&group[place]).await.with_context(|| server_address(&group[place]))?);
            }
        }
        may_be_used(&found, given.may_empty)?;
        // Nobody follows anybody any more, then the logs go.
        for server in found.iter().filter(|server| server.follows.is_some()) {
            forget_source(&server.admin).await.with_context(|| format!("free {}", server.address))?;
        }
        for server in &found {
            if server.tables {
                empty(server).await.with_context(|| format!("empty {}", server.address))?;
            }
            // As a fleet's: shut until somebody says who the primary is, unless it can only be this one.
            let shut = options.places > 1;
            let shut = server.admin.set_read_only(shut).await;
            shut.with_context(|| format!("shut or open {}", server.address))?;
        }
        Ok(Self { dsns: found.into_iter().map(|server| server.dsn).collect() })
    }

    pub(super) fn dsn(&self, index: usize) -> Option<String> {
        self.dsns.get(index).cloned()
    }
}

/// For what only their owner may do.
pub(super) fn not_ours() -> Impossible {
    Impossible(
        "the database servers were given by their addresses: they are not ours to kill or start".to_owned(),
    )
}

/// Looks, and changes nothing. What can't be the harness's is refused.
async fn look(dsn: &Dsn) -> Result<Found> {
    let (address, dsn) = (server_address(dsn), dsn.expose());
    let opts = parse(dsn)?;
    let named = opts.db_name().filter(|name| !name.is_empty());
    ensure!(
        named.is_none_or(|name| name == DATABASE),
        "the harness uses the database {DATABASE} and no other"
    );
    let admin = ServerAdmin::connect(dsn).await.context("a server that was given")?;
    let follows = admin.role().await?.following.map(|following| following.source);
    let mut session = Session::open(dsn).await?;
    ensure!(
        session.count(SEES_ALL).await? > 0,
        "its account can't see whether the server holds anybody's data: GRANT SHOW DATABASES ON *.* to it, by its name"
    );
    let strangers: Vec<String> = session.0.query(STRANGERS).await?;
    ensure!(
        strangers.is_empty(),
        "it holds other databases ({}), and a run makes servers read-only and throws their logs away: give it servers of its \
         own",
        strangers.join(", ")
    );
    let tables = session.count(HOLDS).await? > 0;
    let stored: Option<Vec<u8>> =
        if session.count(TOPOLOGIES).await? == 0 { None } else { session.0.query_first(TOPOLOGY).await? };
    session.0.disconnect().await?;
    let servers = stored.map_or_else(|| Ok(Vec::new()), servers_of)?;
    Ok(Found { admin, dsn: dsn.to_owned(), address, tables, follows, servers })
}

/// The servers of a stored topology. That of any other cluster than the harness's own is refused.
fn servers_of(stored: Vec<u8>) -> Result<Vec<String>> {
    let text = String::from_utf8(stored).context("its stored topology is no text")?;
    let topology = Topology::parse(&text, "its stored topology")?;
    ensure!(
        topology.cluster == CLUSTER,
        "it holds the cluster {:?}, which no run of the harness left: give it other servers",
        topology.cluster
    );
    let servers = topology.host_groups.iter().flat_map(|group| group.servers.values());
    Ok(servers.map(server_address).collect())
}

/// Whether all of them are empty, or hold what an earlier run left and may be emptied.
fn may_be_used(found: &[Found], may_empty: bool) -> Result<()> {
    // Only the first host group's servers say whose the tables are, of all of them.
    let ours: BTreeSet<&String> = found.iter().flat_map(|server| &server.servers).collect();
    for Found { address, tables, follows, .. } in found {
        if let Some(source) = follows
            && !tables
        {
            bail!(
                "{address} follows {source}, and holds nothing of the harness: if nobody needs that, end it yourself (STOP \
                 REPLICA, RESET REPLICA ALL)"
            );
        }
        ensure!(
            !tables || ours.contains(address),
            "{address} holds databases called tao or tao_meta of which no run of the harness knows: drop them yourself, if \
             nobody needs them, or give other servers"
        );
    }
    // Last: nobody is told to let go of what the run would refuse all the same.
    if let Some(server) = found.iter().find(|server| server.tables && !may_empty) {
        bail!(
            "{} holds what an earlier run of the harness left, in the databases tao and tao_meta: with --empty-servers these \
             are dropped on all given servers, and their logs thrown away",
            server.address
        );
    }
    Ok(())
}

fn parse(dsn: &str) -> Result<Opts> {
    // The driver's error may quote the password.
    Opts::from_url(dsn).map_err(|_| anyhow!("its DSN is not valid; expected mysql://user:password@host:port"))
}

async fn forget_source(admin: &ServerAdmin) -> Result<()> {
    admin.stop_replication(false, Duration::ZERO).await?;
    Ok(admin.forget_source().await?)
}

async fn empty(server: &Found) -> Result<()> {
    server.admin.set_read_only(false).await?;
    let mut session = Session::open(&server.dsn).await?;
    let version: Option<String> = session.0.query_first(VERSION).await?;
    let mariadb = version.unwrap_or_default().to_lowercase().contains("mariadb");
    let forget = if mariadb { FORGET_LOG_MARIADB } else { FORGET_LOG_MYSQL };
    for statement in EMPTY.lines().chain(forget.lines()) {
        session.0.query_drop(statement).await?;
    }
    Ok(session.0.disconnect().await?)
}

impl Session {
    async fn open(dsn: &str) -> Result<Self> {
        // The database may not be there yet.
        let opts = OptsBuilder::from_opts(parse(dsn)?).prefer_socket(false).db_name(None::<String>);
        let connect = async {
            let mut conn = Conn::new(opts).await?;
            match conn.query_drop(SET_ROLE).await {
                Ok(()) | Err(Driver::Server(_)) => Ok(Self(conn)),
                Err(error) => Err(error),
            }
        };
        Ok(tokio::time::timeout(CONNECT_LIMIT, connect).await.context("no answer")??)
    }

    async fn count(&mut self, sql: &str) -> Result<u64> {
        let found: Option<u64> = self.0.query_first(sql).await?;
        found.context("a count")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Servers, Source};
    use super::*;

    const OPTIONS: ServersOptions = ServersOptions {
        groups: 1,
        places: 2,
        mode: tao_schema::topology::ReplicationMode::Async,
        disk_bytes: None,
        clocks: false,
    };

    fn found(address: &str, tables: bool, follows: Option<&str>, servers: &[&str]) -> Found {
        Found {
            admin: ServerAdmin::new("mysql://tao@127.0.0.1:1", CONNECT_LIMIT).unwrap(),
            dsn: String::new(),
            address: address.to_owned(),
            tables,
            follows: follows.map(str::to_owned),
            servers: servers.iter().map(|server| (*server).to_owned()).collect(),
        }
    }

    #[test]
    fn only_what_an_earlier_run_left_is_thrown_away_and_only_if_that_was_said() {
        let refused = |servers: &[Found], may_empty| may_be_used(servers, may_empty).unwrap_err().to_string();
        for may_empty in [false, true] {
            may_be_used(&[found("a:1", false, None, &[]), found("b:1", false, None, &[])], may_empty)
                .unwrap();
            // Somebody's replica, before anything was applied to it.
            let replica = [found("a:1", false, None, &[]), found("b:1", false, Some("c:1"), &[])];
            assert!(refused(&replica, may_empty).contains("b:1 follows c:1"));
            // Tables of a tier that stored no topology, and of one that knows only the other server.
            let unknown = [found("a:1", true, None, &[]), found("b:1", false, None, &[])];
            assert!(refused(&unknown, may_empty).contains("drop them yourself"));
            let other = [found("a:1", true, None, &["a:1"]), found("b:1", true, None, &[])];
            assert!(refused(&other, may_empty).starts_with("b:1 holds databases"));
        }
        let left = [found("a:1", true, None, &["a:1", "b:1"]), found("b:1", true, Some("127.0.0.1:9"), &[])];
        assert!(refused(&left, false).contains("--empty-servers"));
        may_be_used(&left, true).unwrap();
    }

    #[test]
    fn the_topology_of_another_cluster_is_refused() {
        let stored = |cluster: &str| {
            let text = r#"
                version = 1
                cluster = "CLUSTER"
                shards = 4
                [[regions]]
                name = "a"
                leaders = { name = "l", nodes = [{ name = "l-1", address = "127.0.0.1:1" }] }
                [[host_groups]]
                id = 1
                master = "a"
                servers = { a = "mysql://u:p@a:7/" }
            "#
            .replace("CLUSTER", cluster);
            servers_of(text.into_bytes())
        };
        assert_eq!(stored(CLUSTER).unwrap(), ["a:7"]);
        for cluster in ["test", "production"] {
            let error = stored(cluster).unwrap_err().to_string();
            assert!(error.contains(cluster) && error.contains("other servers"), "{error}");
        }
    }

    /// The servers of a fleet, as if somebody else ran them.
    #[tokio::test]
    async fn given_servers_are_set_up_like_our_own_and_are_not_ours_to_kill() {
        let Ok(source) = Source::parse("") else { return };
        let others = Servers::start(&source, OPTIONS).await.unwrap();
        let groups = vec![vec![Dsn::new(others.dsn(0).unwrap()), Dsn::new(others.dsn(1).unwrap())]];
        let source = Source::Given(GivenServers { groups, may_empty: false });
        let mut given = Servers::start(&source, OPTIONS).await.unwrap();
        given.replicate(&[1], &|_, _| None).await.unwrap();
        let (replica, primary) = (given.admin(0).unwrap(), given.admin(1).unwrap());
        assert!(!primary.role().await.unwrap().read_only);
        assert!(replica.role().await.unwrap().following.is_some_and(|following| following.connected));
        let error = given.kill(0).await.unwrap_err().to_string();
        assert!(error.contains("not ours to kill"), "{error}");
        let refused = async |source: &Source, options| {
            format!("{:#}", Servers::start(source, options).await.err().unwrap())
        };
        let more = ServersOptions { groups: 2, ..OPTIONS };
        assert!(refused(&source, more).await.contains("2 host groups"));

        // Whatever was said, what is not the harness's stays as it is.
        let source = source.that_may_be_emptied().unwrap();
        let error = refused(&source, OPTIONS).await;
        assert!(error.contains("RESET REPLICA ALL"), "{error}");
        assert!(replica.role().await.unwrap().following.is_some_and(|following| following.connected));
        forget_source(&replica).await.unwrap();
        let mut session = Session::open(&others.dsn(1).unwrap()).await.unwrap();
        for (database, why) in [
            (include_str!("../../sql/servers/test_unknown.sql"), "drop them yourself"),
            (include_str!("../../sql/servers/test_stranger.sql"), "other databases (somebodys)"),
        ] {
            session.0.query_drop(database).await.unwrap();
            let error = refused(&source, OPTIONS).await;
            assert!(error.contains(why), "{error}");
            assert_eq!(session.count(HOLDS).await.unwrap(), 1);
        }
        session.0.disconnect().await.unwrap();
    }
}
