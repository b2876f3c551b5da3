//! The graph schema and the topology, as clients ask for them.

use std::sync::Arc;
use std::time::Duration;

use tao_schema::graph_schema::GraphSchema;
use tao_schema::topology::Topology;
use tao_schema::wire::proto;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Longest wait for a newer topology before the present one is answered again.
const WATCH: Duration = Duration::from_secs(30);

/// What a node tells about the cluster.
#[derive(Clone)]
pub struct Metadata {
    node: Arc<str>,
    schema: Arc<GraphSchema>,
    topology: watch::Receiver<Arc<Topology>>,
    drain: CancellationToken,
}

impl Metadata {
    /// For a node named `node`. Who waits for a newer topology gets the present one when `drain` is cancelled.
    pub fn new(
        node: &str,
        schema: Arc<GraphSchema>,
        topology: watch::Receiver<Arc<Topology>>,
        drain: CancellationToken,
    ) -> Self {
        Self { node: node.into(), schema, topology, drain }
    }

    pub(super) fn schema(&self) -> proto::GetSchemaReply {
        proto::GetSchemaReply { toml: self.schema.source().to_owned() }
    }

    pub(super) async fn topology(&self, newer_than: u64) -> proto::GetTopologyReply {
        let mut topology = self.topology.clone();
        if newer_than > 0 {
            let newer = topology.wait_for(|topology| topology.version > newer_than);
            // At the time limit, or when the node stops, the present one is the answer.
            tokio::select! {
                _newer = newer => {}
                () = tokio::time::sleep(WATCH) => {}
                () = self.drain.cancelled() => {}
            }
        }
        let topology = Arc::clone(&topology.borrow());
        proto::GetTopologyReply {
            version: topology.version,
            toml: topology.to_client_toml(),
            node: self.node.to_string(),
        }
    }
}
