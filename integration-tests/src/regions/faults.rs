//! What can be done to running regions.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tao_server::wan::WanLink;

use super::Regions;
use super::databases::place;
use crate::binaries::run_tao;

/// How long replication has been stopped when an async region is lost.
const BEHIND: Duration = Duration::from_millis(500);
/// A rebuilt server must have everything within this.
const REBUILD: Duration = Duration::from_secs(120);
/// How long something that was killed stays away.
const AWAY: Duration = Duration::from_secs(2);

impl Regions {
    /// Indexes of the servers that are not primaries now, as the cluster says.
    fn replicas(&self) -> Result<Vec<usize>> {
        let masters = self.masters()?;
        let servers = self.servers.places().enumerate();
        let replicas = servers.filter(|(_, (group, region))| masters.get(*group) != Some(region));
        Ok(replicas.map(|(index, _)| index).collect())
    }

    /// Index of the master region of each host group, as the cluster says now.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn masters(&self) -> Result<Vec<usize>> {
        let shown = self.tao(&["topology", "show"])?;
        let groups = shown["host_groups"].as_array().context("tao topology show lists host_groups")?;
        groups
            .iter()
            .map(|group| {
                let master = group["master"].as_str().context("a host group has a master")?;
                Ok(usize::from(self.topology.region_named(master).context("a known region")?))
            })
            .collect()
    }

    /// Stops replication in all regions.
    ///
    /// # Errors
    /// A server does not answer.
    pub async fn stop_replication(&self) -> Result<()> {
        for index in self.replicas()? {
            self.servers.stop_replication(index).await?;
        }
        Ok(())
    }

    /// Starts it again, wherever it does not run. As an administrator must after resets: MariaDB's replica stops for good
    /// when it loses the connection in the middle of its greeting (seen with 10.11, error 2013).
    ///
    /// # Errors
    /// A server does not answer.
    pub async fn start_replication(&self) -> Result<()> {
        for index in self.replicas()? {
            self.servers.start_replication(index).await?;
        }
        Ok(())
    }

    /// `tao region promote` of a region, by index.
    ///
    /// # Errors
    /// It fails.
    pub async fn promote(&self, region: usize, more: &[&str]) -> Result<Value> {
        let name = super::region_name(region);
        let through = self.source_addresses(region);
        let through: Vec<&str> = through.iter().map(String::as_str).collect();
        let args = [&["region", "promote", &name], more, &through].concat();
        let (code, data, talk) = run_tao(&self.topology_file, &args)?;
        anyhow::ensure!(code == 0, "tao {args:?} ended with {code}: {data} {talk}");
        Ok(data)
    }

    /// The links through which the other regions' servers follow those of a region.
    fn source_addresses(&self, primary: usize) -> Vec<String> {
        let mut arguments = Vec::new();
        for (group, region) in self.servers.places().filter(|(_, region)| *region != primary) {
            if let Some(link) = self.network.link(&place(group, region), &place(group, primary)) {
                let region = super::region_name(region);
                arguments.push("--source-address".to_owned());
                arguments.push(format!("{}:{region}={}", group + 1, link.address()));
            }
        }
        arguments
    }

    /// kill -9 of the first leader or follower of a region, and its restart.
    ///
    /// # Errors
    /// It does not come back.
    pub async fn kill_and_restart_node(&mut self, region: usize, leader: bool) -> Result<Value> {
        let role = if leader { "leader" } else { "follower" };
        let name = format!("{}-{role}-1", super::region_name(region));
        self.nodes.get_mut(&name).with_context(|| format!("no node {name}"))?.kill()?;
        tokio::time::sleep(AWAY).await;
        let started = Instant::now();
        self.start_node(&name).await?;
        Ok(json!({ "node": name, "back_seconds": started.elapsed().as_secs_f64() }))
    }

    /// kill -9 of the first group's primary, or of one of its replicas, and its restart in the same role.
    ///
    /// # Errors
    /// [`Impossible`](crate::faults::Impossible): the servers are others'. Or it does not come back.
    pub async fn kill_and_restart_server(&mut self, primary: bool) -> Result<Value> {
        let master = self.masters()?.first().copied().context("a host group")?;
        let mut regions = 0..self.topology.regions.len();
        let region = regions.find(|region| (*region == master) == primary).context("a server")?;
        let index = self.servers.index(0, region)?;
        let address = self.servers.address(index)?;
        self.servers.kill(index).await?;
        tokio::time::sleep(AWAY).await;
        let started = Instant::now();
        self.servers.restart(index).await?;
        if primary {
            self.servers.open(index).await?;
        }
        Ok(json!({ "server": address, "back_seconds": started.elapsed().as_secs_f64() }))
    }

    /// A region is gone, servers and nodes, at once; another one is promoted without it. Then it comes back, is compared,
    /// and joins again if it lost nothing, or is rebuilt.
    ///
    /// # Errors
    /// [`Impossible`](crate::faults::Impossible): the servers are no processes of this machine, which alone can be rebuilt.
    /// Or a step fails.
    pub async fn lose_region(&mut self, lost: usize, promoted: usize) -> Result<Value> {
        self.servers.fleet()?;
        let name = super::region_name(lost);
        let nodes: Vec<String> = self.node_names().filter(|node| node.starts_with(&name)).collect();
        let is_async = self.topology.host_groups.iter().all(|group| group.mode.is_async());
        if is_async {
            // So that there is something to lose.
            self.stop_replication().await?;
            tokio::time::sleep(BEHIND).await;
        }
        for node in &nodes {
            self.nodes.get_mut(node).context("a node")?.kill()?;
        }
        let groups = 0..self.servers.options().groups;
        let servers: Vec<usize> =
            groups.map(|group| self.servers.index(group, lost)).collect::<Result<_>>()?;
        for index in &servers {
            self.servers.kill(*index).await?;
        }
        let started = Instant::now();
        // Of two servers of a lossless group one is left, which nobody can acknowledge.
        let pair = self.topology.regions.len() == 2;
        let (promote, rejoin): (&[&str], &[&str]) = match (is_async, pair) {
            (true, _) => (&["--accept-loss"], &[]),
            (false, true) => (&["--as-async"], &["--lossless"]),
            (false, false) => (&[], &[]),
        };
        let promotion = self.promote(promoted, promote).await?;
        let promoted_seconds = started.elapsed().as_secs_f64();
        tokio::time::sleep(AWAY).await;
        for index in &servers {
            self.servers.restart(*index).await?;
        }
        let through = self.source_addresses(promoted);
        let through: Vec<&str> = through.iter().map(String::as_str).collect();
        let rejoin = [&["region", "rejoin", &name], rejoin, &through].concat();
        let (code, rejoined, talk) = run_tao(&self.topology_file, &rejoin)?;
        let rebuilt = Instant::now();
        let mut rebuilds = Vec::new();
        if code != 0 {
            // It has what the cluster has lost: it stays out until it is rebuilt.
            for (group, index) in servers.iter().enumerate() {
                let link = self.network.link(&place(group, lost), &place(group, promoted));
                let (link, primary) = (link.map(WanLink::address), self.servers.index(group, promoted)?);
                self.servers.fleet_mut()?.reseed(*index, primary, link, REBUILD).await?;
                rebuilds.push(group + 1);
            }
        }
        let rebuilt = rebuilt.elapsed().as_secs_f64();
        for node in &nodes {
            self.start_node(node).await?;
        }
        Ok(json!({
            "promoted_seconds": promoted_seconds,
            "promotion": promotion,
            "rejoin_code": code,
            "rejoin": rejoined,
            "rejoin_said": if code == 0 { "" } else { talk.as_str() },
            "rebuilt_groups": rebuilds,
            "rebuilt_seconds": rebuilt,
        }))
    }
}
