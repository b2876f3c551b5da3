//! The rules that make a topology consistent.

use std::collections::HashSet;

use super::{
    Dsn, FIRST_EPOCH, MAX_FOLLOWER_TIERS, MAX_HOST_GROUPS, MAX_REGIONS, MAX_TIER_NODES, Node, Region, Tier,
    Topology,
};
use crate::limits::MAX_SHARDS;
use crate::toml_text::is_name;

/// What is wrong with a topology.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{key}: {message}")]
pub struct TopologyProblem {
    /// The key, as a dotted path with indexes from 0.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
    /// In a TOML file the key stands behind a text,
    pub(super) anchor: String,
    /// the one that so many occurrences come before.
    pub(super) nth: usize,
}

type Result = std::result::Result<(), TopologyProblem>;

fn problem(key: String, anchor: &str, nth: usize, message: String) -> Result {
    Err(TopologyProblem { key, message, anchor: anchor.to_owned(), nth })
}

impl Topology {
    /// Checks that the topology is consistent.
    ///
    /// # Errors
    /// The first thing that is not.
    pub fn check(&self) -> Result {
        let top = |key: &str, message: String| problem(key.to_owned(), key, 0, message);
        if self.version == 0 {
            return top("version", "versions start at 1".to_owned());
        }
        if !is_name(&self.cluster, "_-") {
            return top("cluster", bad_name(&self.cluster));
        }
        if !(1..=MAX_SHARDS).contains(&self.shards) {
            return top("shards", format!("{} shards; from 1 to {MAX_SHARDS}", self.shards));
        }
        check_number("regions", "[[regions]]", self.regions.len(), 1, MAX_REGIONS)?;
        check_number("host_groups", "[[host_groups]]", self.host_groups.len(), 1, MAX_HOST_GROUPS)?;
        let mut names = Names::default();
        for (at, region) in self.regions.iter().enumerate() {
            names.check_region(&format!("regions.{at}"), region)?;
        }
        for at in 0..self.host_groups.len() {
            self.check_host_group(at)?;
        }
        self.check_assignments()
    }

    fn check_host_group(&self, at: usize) -> Result {
        let group = &self.host_groups[at];
        let wrong = |key: &str, message: String| {
            problem(format!("host_groups.{at}.{key}"), "[[host_groups]]", at, message)
        };
        if self.host_groups[..at].iter().any(|other| other.id == group.id) {
            return wrong("id", format!("host group {} is there already", group.id));
        }
        let unknown = |region: &str| self.region_named(region).is_none();
        if unknown(&group.master) {
            return wrong("master", format!("no region {:?}", group.master));
        }
        if let Some(region) = group.servers.keys().find(|region| unknown(region)) {
            return wrong("servers", format!("no region {region:?}"));
        }
        if !group.servers.is_empty() && !group.servers.contains_key(&group.master) {
            return wrong("servers", format!("no server in the master region, {:?}", group.master));
        }
        if group.epoch < FIRST_EPOCH {
            return wrong("epoch", format!("epochs start at {FIRST_EPOCH}"));
        }
        if let Some((region, _)) = group.servers.iter().find(|(_, dsn)| dsn.expose().is_empty()) {
            return wrong("servers", format!("the DSN of region {region:?} is empty"));
        }
        Ok(())
    }

    fn check_assignments(&self) -> Result {
        let groups: HashSet<_> = self.host_groups.iter().map(|group| group.id).collect();
        let mut seen = HashSet::new();
        for (at, place) in self.assignments.iter().enumerate() {
            let wrong = |key: &str, message: String| {
                problem(format!("assignments.{at}.{key}"), "[[assignments]]", at, message)
            };
            if u32::from(place.shard.0) >= self.shards {
                return wrong(
                    "shard",
                    format!("shard {} of {}; shards start at 0", place.shard, self.shards),
                );
            }
            if !seen.insert(place.shard) {
                return wrong("shard", format!("shard {} is assigned already", place.shard));
            }
            if !groups.contains(&place.host_group) {
                return wrong("host_group", format!("no host group {}", place.host_group));
            }
            if place.epoch < FIRST_EPOCH {
                return wrong("epoch", format!("epochs start at {FIRST_EPOCH}"));
            }
        }
        Ok(())
    }
}

/// Names seen so far. Regions, tiers and nodes each have names of their own.
#[derive(Default)]
struct Names {
    regions: HashSet<String>,
    tiers: HashSet<String>,
    nodes: HashSet<String>,
}

impl Names {
    fn check_region(&mut self, key: &str, region: &Region) -> Result {
        check_name(&mut self.regions, key, "region", &region.name)?;
        let anchor = format!("{:?}", region.name);
        check_number(&format!("{key}.followers"), &anchor, region.followers.len(), 0, MAX_FOLLOWER_TIERS)?;
        self.check_tier(&format!("{key}.leaders"), &region.leaders)?;
        for (at, tier) in region.followers.iter().enumerate() {
            self.check_tier(&format!("{key}.followers.{at}"), tier)?;
        }
        Ok(())
    }

    fn check_tier(&mut self, key: &str, tier: &Tier) -> Result {
        check_name(&mut self.tiers, key, "tier", &tier.name)?;
        check_number(
            &format!("{key}.nodes"),
            &format!("{:?}", tier.name),
            tier.nodes.len(),
            1,
            MAX_TIER_NODES,
        )?;
        for (at, node) in tier.nodes.iter().enumerate() {
            self.check_node(&format!("{key}.nodes.{at}"), node)?;
        }
        Ok(())
    }

    fn check_node(&mut self, key: &str, node: &Node) -> Result {
        check_name(&mut self.nodes, key, "node", &node.name)?;
        let addresses = [("address", Some(&node.address)), ("admin", node.admin.as_ref())];
        for (field, address) in addresses {
            let Some(address) = address.filter(|address| !is_address(address)) else { continue };
            let shown = if address.contains("://") { Dsn::new(address).to_string() } else { address.clone() };
            let message = format!("{shown:?} is no address; host:port");
            return problem(format!("{key}.{field}"), &format!("{address:?}"), 0, message);
        }
        Ok(())
    }
}

fn check_name(seen: &mut HashSet<String>, key: &str, what: &str, name: &str) -> Result {
    let quoted = format!("{name:?}");
    if !is_name(name, "_-.") {
        return problem(format!("{key}.name"), &quoted, 0, bad_name(name));
    }
    if !seen.insert(name.to_owned()) {
        return problem(format!("{key}.name"), &quoted, 1, format!("a {what} {name:?} is there already"));
    }
    Ok(())
}

fn check_number(key: &str, anchor: &str, number: usize, low: usize, high: usize) -> Result {
    if (low..=high).contains(&number) {
        return Ok(());
    }
    problem(key.to_owned(), anchor, 0, format!("{number} of them; from {low} to {high}"))
}

fn bad_name(name: &str) -> String {
    format!("{name:?} is no name: a lower-case letter, then letters, digits, - and _, at most 64")
}

/// `host:port`, where the host may be a name, an IPv4 address or an IPv6 address in brackets.
fn is_address(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_fits = match bracketed {
        Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.len() <= 253
                && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        }
    };
    host_fits && port.parse::<u16>().is_ok_and(|port| port != 0)
}
