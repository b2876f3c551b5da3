//! Examining database servers, each by itself and all together.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use tao_schema::ids::PrimaryTime;
use tao_schema::topology::Topology;
use tao_shard_store::log::{Beat, BeatWriter, Finding, LogPosition, SharedDatabase};
use tao_shard_store::replication::Role;

use crate::servers::{self, Server};

/// Clocks that differ by more are named. No decision of the tier rests on them; people who read logs do.
const SKEW: Duration = Duration::from_secs(30);

/// Something that was found at a server.
pub struct Diagnosis {
    /// Where.
    pub server: Server,
    /// What.
    pub finding: Finding,
}

/// Region of the primary, by host group.
pub type Masters = BTreeMap<u32, String>;

/// What one server says.
struct Facts<'a> {
    server: &'a Server,
    role: Option<Role>,
    executed: Option<LogPosition>,
    /// The server's clock less ours, in milliseconds.
    skew_ms: Option<i64>,
    findings: Vec<Finding>,
}

/// Where the primaries are: as the stored topology says; else the file; else those servers that follow nobody.
pub async fn masters(file: Option<&Path>, servers: &[Server]) -> Masters {
    let of = |topology: &Topology| {
        topology.host_groups.iter().map(|group| (u32::from(group.id.0), group.master.clone())).collect()
    };
    if let Ok(Some((stored, _))) = servers::stored(servers).await {
        return of(&stored);
    }
    let read = file.and_then(|file| std::fs::read_to_string(file).ok());
    if let Some(topology) = read.and_then(|text| Topology::parse(&text, "topology").ok()) {
        return of(&topology);
    }
    let found = servers::replication(servers).await;
    let alone = found.iter().filter(|found| found.role().is_some_and(|role| role.following.is_none()));
    alone.map(|found| (found.server.group, found.server.region.clone())).collect()
}

/// Examines all servers; `masters` says which of them are primaries, if they belong together.
pub async fn examine(servers: &[Server], masters: Option<&Masters>) -> Vec<Diagnosis> {
    // Replicas before primaries: what a primary has is read after what its replicas have, so that a replica is never
    // said to have more because it was asked later.
    let primary =
        |server: &Server| masters.is_some_and(|masters| masters.get(&server.group) == Some(&server.region));
    let (first, then): (Vec<_>, Vec<_>) = servers.iter().partition(|server| !primary(server));
    let mut facts = join_all(first.into_iter().map(look)).await;
    facts.extend(join_all(then.into_iter().map(look)).await);
    let mut diagnosis = Vec::new();
    if let Some(masters) = masters {
        together(&facts, masters, &mut diagnosis);
    }
    let alone = facts.into_iter().flat_map(|facts| {
        let clock = facts.skew_ms.and_then(skewed);
        facts.findings.into_iter().chain(clock).map(move |finding| (facts.server, finding))
    });
    diagnosis.extend(alone.map(|(server, finding)| Diagnosis { server: server.clone(), finding }));
    diagnosis.sort_by(|a, b| {
        let key = |found: &Diagnosis| (found.server.group, found.server.region.clone(), !found.finding.fatal);
        key(a).cmp(&key(b))
    });
    diagnosis
}

async fn look(server: &Server) -> Facts<'_> {
    let mut facts = Facts { server, role: None, executed: None, skew_ms: None, findings: Vec::new() };
    match servers::admin_role(server).await {
        Ok(role) => facts.role = Some(role),
        Err(error) => {
            facts.findings.push(fatal("connection", error.message));
            return facts;
        }
    }
    let follows = facts.role.as_ref().is_some_and(|role| role.following.is_some());
    let read_only = facts.role.as_ref().is_some_and(|role| role.read_only);
    if follows && !read_only {
        // Not opened: it might get tables of its own.
        facts.findings.push(fatal(
            "read_only",
            "it follows another server and takes writes: a history of its own, which no other server has; turn \
             read_only on, in the running server and in its configuration"
                .to_owned(),
        ));
        return facts;
    }
    match servers::open(&server.dsn).await {
        Ok(database) => {
            match database.preflight().await {
                Ok(found) => facts.findings.extend(found),
                Err(error) => facts.findings.push(fatal("preflight", error.message)),
            }
            facts.executed = database.executed().await.ok();
            if !read_only {
                facts.skew_ms = skew(&database).await;
            }
        }
        Err(error) => facts.findings.push(fatal("settings", error.message)),
    }
    facts
}

/// The server's clock less ours, by a heartbeat; in between ours was asked before and after.
async fn skew(database: &SharedDatabase) -> Option<i64> {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as i64);
    let before = now();
    let beat = Beat { writer: BeatWriter::of("tao doctor"), nonce: before as u64 };
    let PrimaryTime(there) = database.beat(beat).await.ok()?;
    Some(there as i64 - i64::midpoint(before, now()))
}

fn skewed(skew_ms: i64) -> Option<Finding> {
    let skew = Duration::from_millis(skew_ms.unsigned_abs());
    (skew > SKEW).then(|| Finding {
        fatal: false,
        subject: "clock".to_owned(),
        message: format!(
            "its clock is {} s {} of this machine's: nothing is decided by it here, but times in logs and retention will \
             mislead; let both follow the same time service",
            skew.as_secs(),
            if skew_ms > 0 { "ahead" } else { "behind" }
        ),
    })
}

/// What only shows when servers are compared.
fn together(facts: &[Facts], masters: &Masters, diagnosis: &mut Vec<Diagnosis>) {
    let mut say =
        |facts: &Facts, finding| diagnosis.push(Diagnosis { server: facts.server.clone(), finding });
    for (group, master) in masters {
        let of_group: Vec<&Facts> = facts.iter().filter(|facts| facts.server.group == *group).collect();
        let primary = of_group.iter().find(|facts| facts.server.region == *master);
        for (at, one) in of_group.iter().enumerate() {
            let id = |facts: &Facts| facts.role.as_ref().map(|role| role.server_id);
            if let Some(twin) =
                of_group[..at].iter().find(|other| id(other).is_some() && id(other) == id(one))
            {
                let message = format!(
                    "the same as that of {}: each would ignore the other's transactions; give every server of the host group \
                     its own",
                    twin.server.address
                );
                say(one, fatal("server_id", message));
            }
        }
        if let Some(primary) = primary {
            for found in as_primary(primary) {
                say(primary, found);
            }
            for replica in of_group.iter().filter(|facts| facts.server.region != *master) {
                for found in as_replica(replica, primary, facts) {
                    say(replica, found);
                }
            }
        }
    }
}

fn as_primary(primary: &Facts) -> Vec<Finding> {
    let Some(role) = &primary.role else { return Vec::new() };
    let mut findings = Vec::new();
    if let Some(following) = &role.following {
        findings.push(fatal(
            "replication",
            format!("the topology has the primary here, but it follows {}", following.source),
        ));
    } else if role.read_only {
        findings.push(fatal(
            "read_only",
            "the topology has the primary here, but it takes no writes: turn read_only off if no promotion is \
             under way and no other server took over"
                .to_owned(),
        ));
    }
    findings
}

fn as_replica(replica: &Facts, primary: &Facts, all: &[Facts]) -> Vec<Finding> {
    let Some(role) = &replica.role else { return Vec::new() };
    let mut findings = Vec::new();
    match &role.following {
        None => findings.push(fatal(
            "replication",
            format!(
                "it follows nobody; its primary is {}: `tao region rejoin {}` sets it up",
                primary.server.address, replica.server.region
            ),
        )),
        Some(now) => {
            let other = all.iter().find(|other| other.server.address == now.source);
            if let Some(other) = other.filter(|other| other.server.address != primary.server.address) {
                findings.push(fatal(
                    "replication",
                    format!(
                        "it follows {}, which is host group {} in region {}; its primary is {}",
                        now.source, other.server.group, other.server.region, primary.server.address
                    ),
                ));
            }
            if !now.receiver_on || !now.applier_on || now.error.is_some() {
                let which = match (now.receiver_on, now.applier_on) {
                    (true, true) => "on, with an error",
                    (true, false) => "not applying",
                    (false, true) => "not receiving",
                    (false, false) => "stopped",
                };
                let error = now.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
                findings.push(fatal("replication", format!("{which}{error}")));
            }
        }
    }
    if let (Some(has), Some(source)) = (&replica.executed, &primary.executed) {
        let extra = has.without(source);
        if !extra.is_empty() {
            findings.push(fatal(
                "gtid",
                format!(
                    "it has transactions that its primary {} lacks: {extra}; it follows the wrong server, was written to, or \
                     is an old primary: its caches would show what never was. Rebuild it (`tao region rejoin {}` lists what \
                     it has)",
                    primary.server.address, replica.server.region
                ),
            ));
        }
    }
    findings
}

fn fatal(subject: &str, message: String) -> Finding {
    Finding { fatal: true, subject: subject.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use tao_schema::topology::Dsn;
    use tao_shard_store::replication::Following;

    use super::*;

    fn server(group: u32, region: &str, port: u16) -> Server {
        let address = format!("127.0.0.1:{port}");
        let dsn = Dsn::new(format!("mysql://t:x@{address}/"));
        Server { group, region: region.to_owned(), address, dsn }
    }

    fn facts<'a>(server: &'a Server, id: u32, follows: Option<u16>, executed: &str) -> Facts<'a> {
        let following = follows.map(|port| Following {
            source: format!("127.0.0.1:{port}"),
            receiver_on: true,
            connected: true,
            applier_on: true,
            error: None,
            retrieved: LogPosition::none(),
            behind_seconds: Some(0),
        });
        let role = Role {
            server_id: id,
            server_uuid: String::new(),
            read_only: follows.is_some(),
            super_read_only: false,
            following,
        };
        Facts {
            server,
            role: Some(role),
            executed: Some(executed.parse().unwrap()),
            skew_ms: None,
            findings: Vec::new(),
        }
    }

    fn said(all: &[Facts]) -> Vec<String> {
        let masters = Masters::from([(1, "east".to_owned()), (2, "east".to_owned())]);
        let mut diagnosis = Vec::new();
        together(all, &masters, &mut diagnosis);
        let line = |found: &Diagnosis| {
            format!("{} {}: {}", found.server.address, found.finding.subject, found.finding.message)
        };
        diagnosis.iter().map(line).collect()
    }

    #[test]
    fn servers_that_do_not_fit_together_are_named() {
        let (primary, replica, other) = (server(1, "east", 1), server(1, "west", 2), server(2, "east", 3));
        let well = |id, follows, executed| {
            [
                facts(&replica, id, follows, executed),
                facts(&primary, 1, None, "0-1-9"),
                facts(&other, 3, None, "0-3-5"),
            ]
        };
        assert_eq!(said(&well(2, Some(1), "0-1-7")), Vec::<String>::new());
        let wrong = said(&well(2, Some(3), "0-3-5"));
        assert!(wrong[0].contains("follows 127.0.0.1:3, which is host group 2"), "{wrong:?}");
        assert!(wrong[1].contains("0-3-5"), "{wrong:?}");
        assert!(said(&well(1, Some(1), "0-1-9"))[0].contains("server_id: the same as that of 127.0.0.1:2"));
        assert!(said(&well(2, None, "0-1-9"))[0].contains("it follows nobody"));
        assert!(said(&well(2, Some(1), "0-1-10"))[0].contains("lacks: 0-1-10"));
    }

    #[test]
    fn clocks_an_hour_apart_are_named() {
        assert_eq!(skewed(-900), None);
        assert!(skewed(-3_600_000).unwrap().message.contains("3600 s behind"));
    }
}
