//! What to make of a topology that another part of the cluster goes by. Pure: no clock, no network.

use std::fmt;

use tao_schema::planted::{Bug, planted};
use tao_schema::topology::{Assignment, Topology};

/// Why two topologies can't be of one running cluster, or one can't follow the other. The message names both sides.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Contradiction(String);

impl Contradiction {
    /// One that says `message`.
    pub(super) const fn new(message: String) -> Self {
        Self(message)
    }
}

/// Where a topology was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The node's own file.
    File,
    /// `tao_meta` of a database server, as people call that.
    Database(String),
    /// Another node.
    Node(String),
}

/// What to do with a topology that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is older than ours.
    Older,
    /// It is ours.
    Same,
    /// Go by this one from now on.
    Newer(Box<Topology>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("this node's topology file"),
            Self::Database(server) => write!(f, "the topology stored at {server}"),
            Self::Node(name) => write!(f, "the topology of {name}"),
        }
    }
}

/// How a running cluster gets another topology.
const NEXT: &str = "a running cluster's topology is changed by `tao topology apply FILE` and in no other way; \
                    `tao topology show` prints the one in force";

/// Compares what was found with ours.
///
/// Copies of nodes have no DSNs: passwords never travel over gRPC. So a newer one takes the servers that we know for the
/// same host group, and one of our own version that has what ours lacks completes it.
///
/// # Errors
/// It is of another cluster, does not follow from ours, or says something else under the same version.
pub fn judge(ours: &Topology, theirs: &Topology, origin: &Origin) -> Result<Verdict, Contradiction> {
    same_cluster(ours, theirs, origin)?;
    if theirs.version < ours.version && !planted(Bug::OldTopologyTaken) {
        return Ok(Verdict::Older);
    }
    if theirs.version == ours.version {
        if let Some(what) = difference(ours, theirs) {
            return Err(Contradiction(format!(
                "{origin} has version {}, as ours, but {what} differs; {NEXT}",
                theirs.version
            )));
        }
        let whole = with_known_servers(ours, theirs);
        return Ok(if whole == *ours { Verdict::Same } else { Verdict::Newer(Box::new(whole)) });
    }
    check_step(ours, theirs).map_err(|Contradiction(what)| {
        Contradiction(format!("{origin}, version {}: {what}", theirs.version))
    })?;
    Ok(Verdict::Newer(Box::new(with_known_servers(ours, theirs))))
}

/// Whether a node may start from its file, where the cluster goes by `running`.
///
/// # Errors
/// The file is newer than what runs, or says something else.
pub fn judge_file(file: &Topology, running: &Topology, origin: &Origin) -> Result<Verdict, Contradiction> {
    same_cluster(file, running, origin)?;
    if file.version > running.version {
        return Err(Contradiction(format!(
            "this node's topology file has version {}, but {origin} has version {}: nobody has applied the file; {NEXT}",
            file.version, running.version
        )));
    }
    judge(file, running, origin)
}

fn same_cluster(ours: &Topology, theirs: &Topology, origin: &Origin) -> Result<(), Contradiction> {
    if ours.cluster != theirs.cluster {
        return Err(Contradiction(format!(
            "{origin} is of cluster \"{}\", this node's of \"{}\": an address leads to the wrong cluster",
            theirs.cluster, ours.cluster
        )));
    }
    if ours.shards != theirs.shards {
        return Err(Contradiction(format!(
            "{origin} has shards = {}, this node's has {}: the number of shards is fixed for a cluster's life",
            theirs.shards, ours.shards
        )));
    }
    Ok(())
}

/// Whether `next` may follow `last` in a running cluster.
///
/// # Errors
/// It would move regions to other indexes, take a shard to another host group without raising its epoch, or lower an
/// epoch.
pub fn check_step(last: &Topology, next: &Topology) -> Result<(), Contradiction> {
    for (at, region) in last.regions.iter().enumerate() {
        let now = next.regions.get(at).map(|region| region.name.as_str());
        if now != Some(region.name.as_str()) {
            return Err(Contradiction(format!(
                "regions.{at} was \"{}\" and is {}: nodes know regions by their place; add new ones behind the others, \
                 and leave an empty one in its place",
                region.name,
                now.map_or("gone".to_owned(), |name| format!("\"{name}\""))
            )));
        }
    }
    // Places only: who owns what takes longer to compute, and writers may wait for this topology.
    for (before, after) in last.all_assignments().into_iter().zip(next.all_assignments()) {
        let Assignment { shard, host_group: group, epoch } = before;
        let (to, raised) = (after.host_group, after.epoch);
        if raised < epoch && !planted(Bug::EpochGoesBack) {
            return Err(Contradiction(format!(
                "shard {shard} is in epoch {epoch} and would go back to {raised}: epochs only grow"
            )));
        }
        if to != group && raised == epoch {
            return Err(Contradiction(format!(
                "shard {shard} is in host group {group} and would be looked for in {to}, where its data is not; write \
                 down where every shard is ([[assignments]]) before host groups are added, removed or reordered"
            )));
        }
    }
    Ok(())
}

/// Names what differs between two topologies of one version, if anything does. Servers that one of them does not name
/// are not compared.
fn difference(ours: &Topology, theirs: &Topology) -> Option<String> {
    for (mine, other) in ours.host_groups.iter().zip(&theirs.host_groups) {
        for (region, dsn) in &mine.servers {
            if other.servers.get(region).is_some_and(|theirs| theirs != dsn) {
                return Some(format!("the server of host group {} in region {region}", mine.id));
            }
        }
        let names =
            |group: &tao_schema::topology::HostGroup| group.servers.keys().cloned().collect::<Vec<_>>();
        if !mine.servers.is_empty() && !other.servers.is_empty() && names(mine) != names(other) {
            return Some(format!("the regions of the servers of host group {}", mine.id));
        }
    }
    let (ours, theirs) = (public(ours), public(theirs));
    if ours == theirs {
        return None;
    }
    Some(if ours.regions != theirs.regions {
        let pairs = ours.regions.iter().zip(&theirs.regions);
        let mut changed = pairs.filter(|(ours, theirs)| ours != theirs).map(|(ours, _)| ours.name.as_str());
        changed.next().map_or("the list of regions".to_owned(), |name| format!("region {name}"))
    } else if ours.host_groups != theirs.host_groups {
        let pairs = ours.host_groups.iter().zip(&theirs.host_groups);
        let mut changed = pairs.filter(|(ours, theirs)| ours != theirs).map(|(ours, _)| ours.id);
        changed.next().map_or("the list of host groups".to_owned(), |id| format!("host group {id}"))
    } else {
        "the list of assignments".to_owned()
    })
}

fn public(topology: &Topology) -> Topology {
    let mut public = topology.clone();
    for group in &mut public.host_groups {
        group.servers.clear();
    }
    public
}

/// `theirs` with our servers where it names none. A host group whose master's server we don't know is left without: the
/// database's own copy will have it.
fn with_known_servers(ours: &Topology, theirs: &Topology) -> Topology {
    let mut whole = theirs.clone();
    let regions: Vec<&str> = theirs.regions.iter().map(|region| region.name.as_str()).collect();
    for group in whole.host_groups.iter_mut().filter(|group| group.servers.is_empty()) {
        let Some(known) = ours.host_group(group.id) else { continue };
        if known.servers.contains_key(&group.master) {
            let still_there = known.servers.iter().filter(|(region, _)| regions.contains(&region.as_str()));
            group.servers = still_there.map(|(region, dsn)| (region.clone(), dsn.clone())).collect();
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use tao_schema::ids::{Epoch, HostGroupId};
    use tao_schema::topology::Dsn;

    use super::*;

    fn ours() -> Topology {
        let text = r#"
            version = 3
            cluster = "graph"
            shards = 8
            [[regions]]
            name = "east"
            leaders = { name = "le", nodes = [{ name = "le-1", address = "10.0.0.1:7400" }] }
            [[regions]]
            name = "west"
            leaders = { name = "lw", nodes = [{ name = "lw-1", address = "10.0.1.1:7400" }] }
            [[host_groups]]
            id = 1
            master = "east"
            servers = { east = "mysql://t:x@10.0.0.2/", west = "mysql://t:x@10.0.1.2/" }
            [[host_groups]]
            id = 2
            master = "west"
            servers = { east = "mysql://t:x@10.0.0.3/", west = "mysql://t:x@10.0.1.3/" }
        "#;
        Topology::parse(text, "t.toml").unwrap()
    }

    fn node() -> Origin {
        Origin::Node("lw-1".to_owned())
    }

    fn refusal(theirs: &Topology) -> String {
        judge(&ours(), theirs, &node()).unwrap_err().to_string()
    }

    #[test]
    fn a_newer_copy_of_a_node_takes_the_servers_that_are_known_here() {
        let mut promoted = ours();
        promoted.version = 4;
        promoted.host_groups[0].master = "west".to_owned();
        promoted.host_groups[0].epoch = Epoch(2);
        let copy = Topology::parse(&promoted.to_client_toml(), "copy").unwrap();
        assert!(copy.host_groups[0].servers.is_empty(), "passwords do not travel");
        assert_eq!(judge(&ours(), &copy, &node()), Ok(Verdict::Newer(Box::new(promoted))));
    }

    #[test]
    fn servers_that_are_not_known_here_come_from_the_database_later() {
        let mut grown = ours();
        grown.version = 4;
        grown.assignments = ours().all_assignments();
        let mut third = grown.host_groups[0].clone();
        third.id = HostGroupId(3);
        grown.host_groups.push(third);
        let copy = Topology::parse(&grown.to_client_toml(), "copy").unwrap();
        let Ok(Verdict::Newer(partial)) = judge(&ours(), &copy, &node()) else { panic!("it is newer") };
        assert_eq!(partial.host_groups[0], grown.host_groups[0]);
        assert!(partial.host_groups[2].servers.is_empty());
        let stored = Origin::Database("10.0.0.2:3306".to_owned());
        assert_eq!(judge(&partial, &grown, &stored), Ok(Verdict::Newer(Box::new(grown.clone()))));
        assert_eq!(judge(&grown, &copy, &node()), Ok(Verdict::Same));
        assert_eq!(judge(&grown, &ours(), &node()), Ok(Verdict::Older));
    }

    #[test]
    fn what_contradicts_is_refused_by_name() {
        let mut other = ours();
        other.cluster = "else".to_owned();
        assert!(refusal(&other).contains("cluster \"else\""));
        other = ours();
        other.shards = 16;
        assert!(refusal(&other).contains("shards = 16"));
        other = ours();
        other.regions[1].leaders.nodes[0].address = "10.9.9.9:1".to_owned();
        assert!(
            refusal(&other).contains("version 3, as ours, but region west differs"),
            "{}",
            refusal(&other)
        );
        other = ours();
        other.host_groups[1].servers.insert("west".to_owned(), Dsn::new("mysql://t:other@10.0.1.3/"));
        let message = refusal(&other);
        assert!(message.contains("the server of host group 2 in region west"), "{message}");
        assert!(!message.contains("other@") && message.contains("tao topology apply"), "{message}");
    }

    #[test]
    fn a_step_that_would_lose_data_or_nodes_is_refused() {
        let mut next = ours();
        next.version = 4;
        next.regions.swap(0, 1);
        assert!(refusal(&next).contains("regions.0 was \"east\""));
        next = ours();
        next.version = 4;
        next.host_groups.swap(0, 1);
        assert!(refusal(&next).contains("shard 0 is in host group 1 and would be looked for in 2"));
        let mut last = ours();
        last.host_groups[0].epoch = Epoch(5);
        let message = check_step(&last, &ours()).unwrap_err().to_string();
        assert!(message.contains("go back to 1"), "{message}");
    }

    #[test]
    fn a_file_that_nobody_applied_does_not_start_a_node() {
        let mut file = ours();
        file.version = 4;
        let error = judge_file(&file, &ours(), &node()).unwrap_err().to_string();
        assert!(error.contains("version 4") && error.contains("nobody has applied"), "{error}");
        assert_eq!(judge_file(&ours(), &file, &node()), Ok(Verdict::Newer(Box::new(file))));
        assert_eq!(judge_file(&ours(), &ours(), &node()), Ok(Verdict::Same));
    }
}
