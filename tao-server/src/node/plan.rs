//! What a node is to be: its configuration, checked against topology and graph schema.

use std::sync::Arc;

use anyhow::{Context, Result};
use tao_schema::graph_schema::GraphSchema;
use tao_schema::topology::Topology;

use crate::config::NodeConfig;
use crate::topology::TopologyState;

/// What the topology says a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Answers applications from memory.
    Follower,
    /// Orders writes and talks to the databases.
    Leader,
}

impl Role {
    /// As in labels and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Follower => "follower",
            Self::Leader => "leader",
        }
    }
}

/// A configuration that has been checked against its topology and graph schema.
pub struct Plan {
    /// The configuration.
    pub config: NodeConfig,
    /// What the node is.
    pub role: Role,
    /// Index of the region it is in.
    pub region: u16,
    /// The graph schema.
    pub schema: Arc<GraphSchema>,
    /// The topology, from now on the one in force.
    pub topology: Arc<TopologyState>,
}

impl Plan {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// A file can't be read or is wrong, with file, line and key; or the topology has no node of this name.
    pub fn read(config: &NodeConfig) -> Result<Self> {
        let topology = read(&config.topology)
            .and_then(|text| Ok(Topology::parse(&text, &config.topology.display().to_string())?))?;
        let schema = if config.schema.as_os_str().is_empty() {
            GraphSchema::demo()
        } else {
            let text = read(&config.schema)?;
            GraphSchema::parse(&text, &config.schema.display().to_string())?
        };
        Self::new(config.clone(), Arc::new(topology), Arc::new(schema))
    }

    /// Finds the node in the topology.
    ///
    /// # Errors
    /// It is not there.
    pub fn new(config: NodeConfig, topology: Arc<Topology>, schema: Arc<GraphSchema>) -> Result<Self> {
        let (tier, _) = topology.node_named(&config.name).with_context(|| {
            format!("name = \"{}\": the topology has no node of this name; add it to a tier", config.name)
        })?;
        let role = if tier.tier == 0 { Role::Leader } else { Role::Follower };
        let topology = Arc::new(TopologyState::new(&config.name, topology));
        Ok(Self { config, role, region: tier.region, schema, topology })
    }

    /// Name of the region.
    pub fn region_name(&self) -> String {
        self.topology.topology().regions[usize::from(self.region)].name.clone()
    }

    /// Whether the topology in force has the node where the plan has it.
    ///
    /// # Errors
    /// It is elsewhere there, or not at all.
    pub fn still_holds(&self) -> Result<()> {
        let topology = self.topology.topology();
        let here = topology.node_named(&self.config.name).map(|(tier, _)| tier);
        let is_leader = matches!(self.role, Role::Leader);
        anyhow::ensure!(
            here.is_some_and(|tier| tier.region == self.region && (tier.tier == 0) == is_leader),
            "the topology in force, version {}, does not have {} as a {} of region {}: give this node the topology that \
             `tao topology show` prints, or change it with `tao topology apply`",
            topology.version,
            self.config.name,
            self.role.name(),
            self.region_name()
        );
        Ok(())
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let topology = self.topology.topology();
        format!(
            "{} is a {} in region {} of cluster {} ({} shards, {} host groups), graph schema of {} object and {} \
             association types",
            self.config.name,
            self.role.name(),
            self.region_name(),
            topology.cluster,
            topology.shards,
            topology.host_groups.len(),
            self.schema.object_types().count(),
            self.schema.assoc_types().count(),
        )
    }
}

fn read(path: &std::path::Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}
