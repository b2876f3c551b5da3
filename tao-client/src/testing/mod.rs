//! Nodes in memory, for tests and runnable examples: a network of byte streams that can be cut, nodes that answer as
//! they are told, and a graph that answers like a cluster. Not part of the SDK's contract.

mod graph;
mod network;
mod node;

use tao_schema::graph_schema::GraphSchema;
use tao_schema::topology::Topology;
use tao_schema::{Error, Result};

pub use graph::Graph;
pub use network::Network;
pub use node::{FakeNode, Reaction};

use crate::{Client, Options};

/// A cluster in memory: followers that answer as they are told.
pub struct FakeCluster {
    /// Its network.
    pub network: Network,
    /// Its followers: `f1`, `f2`, ..., at the addresses `f1:1`, `f2:1`, ...
    pub followers: Vec<FakeNode>,
}

impl FakeCluster {
    /// A cluster of 64 shards with one tier of followers, each of which does what `handler` says when given its number
    /// (from 1) and the request.
    pub fn new(
        followers: usize,
        handler: impl Fn(usize, &tao_schema::wire::proto::Request) -> Reaction + Clone + Send + Sync + 'static,
    ) -> Self {
        Self::of(&topology(1, followers), handler)
    }

    /// The followers of a topology, numbered in its order. The names of nodes are as [`topology`] makes them.
    ///
    /// # Panics
    /// If the topology is none.
    pub fn of(
        toml: &str,
        handler: impl Fn(usize, &tao_schema::wire::proto::Request) -> Reaction + Clone + Send + Sync + 'static,
    ) -> Self {
        let parsed = Topology::parse(toml, "test");
        let parsed = parsed.unwrap_or_else(|error| panic!("no topology: {error}"));
        let network = Network::new();
        let followers = parsed.tiers().filter(|(at, _)| at.tier != 0).flat_map(|(_, tier)| &tier.nodes);
        let nodes = followers.zip(1..).map(|(node, number)| {
            let handler = handler.clone();
            let fake = FakeNode::new(&node.name, move |request| handler(number, request));
            fake.set_schema(GraphSchema::demo().source());
            fake.set_topology(parsed.version, toml);
            network.serve(&node.address, fake.clone());
            fake
        });
        let followers = nodes.collect();
        Self { network, followers }
    }

    /// Options that find this cluster.
    pub fn options(&self) -> Options {
        let mut options = Options::new((1..=self.followers.len()).map(|number| format!("f{number}:1")));
        options.connection.dialer = self.network.dialer();
        options
    }

    /// A client of it.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn client(&self) -> Result<Client> {
        Client::connect(self.options()).await
    }
}

/// A topology of 64 shards with `followers` nodes in one tier.
pub fn topology(version: u64, followers: usize) -> String {
    let nodes: Vec<String> =
        (1..=followers).map(|node| format!("{{ name = \"f{node}\", address = \"f{node}:1\" }}")).collect();
    format!(
        "version = {version}\ncluster = \"test\"\nshards = 64\n\n[[regions]]\nname = \"local\"\n\
         leaders = {{ name = \"leaders\", nodes = [{{ name = \"l1\", address = \"l1:1\" }}] }}\n\
         [[regions.followers]]\nname = \"followers\"\nnodes = [{}]\n\n\
         [[host_groups]]\nid = 1\nmaster = \"local\"\n",
        nodes.join(", ")
    )
}

/// A topology of 64 shards with a follower in each of the regions: `f1`, `f2`, ... in their order. The first is master.
pub fn region_topology(version: u64, regions: &[&str]) -> String {
    let region = |(name, number): (&&str, usize)| {
        format!(
            "[[regions]]\nname = \"{name}\"\n\
             leaders = {{ name = \"l-{name}\", nodes = [{{ name = \"l{number}\", address = \"l{number}:1\" }}] }}\n\
             [[regions.followers]]\nname = \"f-{name}\"\n\
             nodes = [{{ name = \"f{number}\", address = \"f{number}:1\" }}]\n\n"
        )
    };
    let master = regions.first().copied().unwrap_or_default();
    let regions: Vec<String> = regions.iter().zip(1..).map(region).collect();
    format!(
        "version = {version}\ncluster = \"test\"\nshards = 64\n\n{}[[host_groups]]\nid = 1\nmaster = \"{master}\"\n",
        regions.concat()
    )
}

/// Runs an example against a cluster of two followers that share one graph.
///
/// # Panics
/// If the example fails.
pub fn run(example: impl AsyncFnOnce(Client) -> Result<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::internal(format!("no runtime: {error}")));
    let done = runtime.and_then(|runtime| {
        runtime.block_on(async {
            let graph = Graph::demo();
            let cluster = FakeCluster::new(2, move |_, request| graph.answer(request));
            example(cluster.client().await?).await
        })
    });
    if let Err(error) = done {
        panic!("the example failed: {error}");
    }
}
