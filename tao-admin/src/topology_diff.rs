//! What changes from one topology to the next, and whom it concerns.

use std::collections::BTreeMap;

use serde::Serialize;
use tao_schema::topology::{HostGroup, Node, Placement, TierRef, Topology};
use tao_server::translate::server_address;

/// One change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Change {
    /// What is different.
    pub what: String,
    /// Who is affected, and what is still to be done.
    pub effect: String,
}

fn change(what: impl Into<String>, effect: impl Into<String>) -> Change {
    Change { what: what.into(), effect: effect.into() }
}

/// What `tao topology apply` must leave to other commands, which do it together with the databases.
pub fn refused_here(last: &Topology, next: &Topology) -> Option<String> {
    for group in &last.host_groups {
        let Some(now) = next.host_group(group.id) else {
            let holds = Placement::compute(last);
            let held = holds
                .shards()
                .filter(|shard| holds.host_group(*shard).is_some_and(|at| at.0 == group.id))
                .count();
            if held > 0 {
                return Some(format!("host group {} would go, but it holds {held} shards", group.id));
            }
            continue;
        };
        if now.master != group.master || now.epoch != group.epoch {
            return Some(format!(
                "host group {}: master \"{}\" in epoch {} would become \"{}\" in epoch {}; `tao region promote` does \
                 that, together with the databases",
                group.id, group.master, group.epoch, now.master, now.epoch
            ));
        }
    }
    let (before, after) = (Placement::compute(last), Placement::compute(next));
    let moved = before.shards().find(|shard| before.host_group(*shard) != after.host_group(*shard));
    moved.map(|shard| {
        format!("shard {shard} would have another host group or epoch; that is no change of topology alone: data moves")
    })
}

/// The changes, most local first. DSNs are shown without passwords.
pub fn diff(last: &Topology, next: &Topology) -> Vec<Change> {
    let mut changes = Vec::new();
    for (at, region) in next.regions.iter().enumerate() {
        if last.regions.get(at).is_none() {
            changes.push(change(
                format!("region {} is new", region.name),
                "start its leaders, then its followers; nobody uses it before",
            ));
        }
    }
    let (before, after) = (Placement::compute(last), Placement::compute(next));
    for (place, tier) in next.tiers() {
        let Some(known) = last.tier(place) else {
            if last.regions.get(usize::from(place.region)).is_some() {
                changes.push(change(
                    format!("follower tier {} is new", tier.name),
                    "clients fail over to it once its nodes serve",
                ));
            }
            continue;
        };
        nodes(&known.nodes, &tier.nodes, &mut changes);
        let moved = moved(last, next, (&before, &after), place);
        if moved > 0 {
            changes.push(change(
                format!("tier {}: {moved} of {} shards get another owner", tier.name, next.shards),
                if place.tier == 0 {
                    "their new leaders serve from warm rings; writes wait for a moment"
                } else {
                    "their new followers begin with cold caches"
                },
            ));
        }
    }
    for (place, tier) in last.tiers().filter(|(place, _)| next.tier(*place).is_none()) {
        if next.regions.get(usize::from(place.region)).is_some() {
            changes.push(change(format!("follower tier {} goes", tier.name), "stop its nodes afterwards"));
        }
    }
    host_groups(last, next, &mut changes);
    if changes.is_empty() {
        changes.push(change("nothing but the version", "nobody is affected"));
    }
    changes
}

/// Shards of a tier whose owner changes, by its name.
fn moved(last: &Topology, next: &Topology, placements: (&Placement, &Placement), tier: TierRef) -> usize {
    let name = |topology: &Topology, placement: &Placement, shard| {
        let owner = placement.owner(tier, shard)?;
        Some(topology.tier(tier)?.nodes.get(usize::from(owner))?.name.clone())
    };
    placements
        .0
        .shards()
        .filter(|shard| name(last, placements.0, *shard) != name(next, placements.1, *shard))
        .count()
}

fn nodes(last: &[Node], next: &[Node], changes: &mut Vec<Change>) {
    let known: BTreeMap<&str, &Node> = last.iter().map(|node| (node.name.as_str(), node)).collect();
    for node in next {
        match known.get(node.name.as_str()) {
            None => changes.push(change(
                format!("node {} at {} is new", node.name, node.address),
                "start it before you apply: callers are sent to it at once",
            )),
            Some(before) if before.address != node.address => changes.push(change(
                format!("node {}: {} becomes {}", node.name, before.address, node.address),
                "it must serve there when this is applied; it keeps its shards",
            )),
            Some(before) if before.admin != node.admin => {
                changes
                    .push(change(format!("node {}: another admin address", node.name), "nobody is affected"));
            }
            Some(_) => {}
        }
    }
    for node in last.iter().filter(|node| next.iter().all(|kept| kept.name != node.name)) {
        changes.push(change(format!("node {} goes", node.name), "drain and stop it afterwards (SIGTERM)"));
    }
}

fn host_groups(last: &Topology, next: &Topology, changes: &mut Vec<Change>) {
    for group in &next.host_groups {
        let Some(known) = last.host_group(group.id) else {
            changes.push(change(
                format!("host group {} is new, mastered in {}", group.id, group.master),
                "restart the leaders of all regions: they connect to the servers of their region when they start",
            ));
            continue;
        };
        if known.mode != group.mode {
            changes.push(change(
                format!("host group {}: mode {:?} becomes {:?}", group.id, known.mode, group.mode),
                "set the servers accordingly: `tao doctor` says how",
            ));
        }
        servers(known, group, changes);
    }
}

fn servers(last: &HostGroup, next: &HostGroup, changes: &mut Vec<Change>) {
    for (region, dsn) in &next.servers {
        let effect = format!("restart the leaders of {region}; others use the new address at once");
        match last.servers.get(region) {
            None => changes.push(change(
                format!("host group {}: a server in {region}, {}", next.id, server_address(dsn)),
                effect,
            )),
            Some(known) if server_address(known) != server_address(dsn) => changes.push(change(
                format!(
                    "host group {}: the server in {region} is {}, no longer {}",
                    next.id,
                    server_address(dsn),
                    server_address(known)
                ),
                effect,
            )),
            Some(known) if known != dsn => changes.push(change(
                format!(
                    "host group {}: another account or options at {} in {region}",
                    next.id,
                    server_address(dsn)
                ),
                effect,
            )),
            Some(_) => {}
        }
    }
    for region in last.servers.keys().filter(|region| !next.servers.contains_key(*region)) {
        changes.push(change(
            format!("host group {}: no server in {region} any more", next.id),
            format!("leaders of {region} can't start without one"),
        ));
    }
}

#[cfg(test)]
mod tests {
    use tao_schema::ids::Epoch;
    use tao_schema::topology::Dsn;

    use super::*;

    fn topology() -> Topology {
        let text = r#"
            version = 1
            cluster = "graph"
            shards = 64
            [[regions]]
            name = "east"
            leaders = { name = "le", nodes = [{ name = "le-1", address = "10.0.0.1:1" }] }
            followers = [{ name = "fe", nodes = [{ name = "fe-1", address = "10.0.0.2:1" }] }]
            [[host_groups]]
            id = 1
            master = "east"
            servers = { east = "mysql://t:old-secret@10.0.0.3/" }
        "#;
        Topology::parse(text, "t.toml").unwrap()
    }

    fn texts(next: &Topology) -> String {
        diff(&topology(), next)
            .iter()
            .map(|change| format!("{} | {}\n", change.what, change.effect))
            .collect()
    }

    #[test]
    fn what_changes_is_said_with_whom_it_concerns_and_without_passwords() {
        let mut next = topology();
        next.version = 2;
        assert!(texts(&next).starts_with("nothing but the version"));
        let new = Node { name: "fe-2".to_owned(), address: "10.0.0.9:1".to_owned(), admin: None };
        next.regions[0].followers[0].nodes.push(new);
        next.regions[0].leaders.nodes[0].address = "10.0.0.8:1".to_owned();
        next.host_groups[0].servers.insert("east".to_owned(), Dsn::new("mysql://t:new-secret@10.0.0.3/"));
        let said = texts(&next);
        for wanted in [
            "node fe-2 at 10.0.0.9:1 is new",
            "of 64 shards get another owner | their new followers begin with cold caches",
            "node le-1: 10.0.0.1:1 becomes 10.0.0.8:1",
            "another account or options at 10.0.0.3:3306 in east | restart the leaders of east",
        ] {
            assert!(said.contains(wanted), "{wanted} in {said}");
        }
        assert!(!said.contains("secret"), "{said}");
        assert_eq!(refused_here(&topology(), &next), None);
    }

    #[test]
    fn what_moves_data_or_masters_is_left_to_its_own_command() {
        let mut next = topology();
        next.host_groups[0].epoch = Epoch(2);
        assert!(refused_here(&topology(), &next).unwrap().contains("tao region promote"));
        next = topology();
        next.host_groups.clear();
        assert!(refused_here(&topology(), &next).unwrap().contains("holds 64 shards"));
        next = topology();
        next.assignments = next.all_assignments();
        assert_eq!(refused_here(&topology(), &next), None, "writing down what is changes nothing");
        next.assignments[3].epoch = Epoch(2);
        assert!(refused_here(&topology(), &next).unwrap().contains("shard 3"));
    }
}
