//! Asking other nodes for their topology, over gRPC. Their copies have no DSNs: a password never travels this way.

use std::time::Duration;

use tao_client::connection::{ConnectionOptions, dial};
use tao_schema::limits::MAX_MESSAGE_BYTES;
use tao_schema::topology::Topology;
use tao_schema::wire::proto::GetTopologyRequest;
use tao_schema::wire::proto::peer_client::PeerClient;
use tao_schema::{Error, Result};
use tonic::transport::Channel;

use crate::translate::Translate;

/// A leader to be asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeAsked {
    /// Its name.
    pub name: String,
    /// Its address in the topology.
    pub address: String,
}

/// The way to other nodes' topologies. Keeps the connection to the node that was asked last.
pub struct Asking {
    translate: Translate,
    options: ConnectionOptions,
    open: Option<(NodeAsked, PeerClient<Channel>)>,
}

impl Asking {
    /// By these translated addresses.
    pub fn new(translate: Translate) -> Self {
        Self { translate, options: ConnectionOptions::default(), open: None }
    }

    /// The topology of `node`, if it is newer than `newer_than`; `None`: it had nothing newer for as long as `patience`.
    ///
    /// # Errors
    /// The node can't be reached, or answers what is no topology.
    pub async fn ask(
        &mut self,
        node: &NodeAsked,
        newer_than: u64,
        patience: Duration,
    ) -> Result<Option<Topology>> {
        let mut client = self.connect(node).await?;
        let asked = client.get_topology(GetTopologyRequest { newer_than });
        let reply = match tokio::time::timeout(patience, asked).await {
            Ok(Ok(reply)) => reply.into_inner(),
            Ok(Err(status)) => {
                self.open = None;
                return Err(Error::from(status));
            }
            Err(_) if newer_than > 0 => return Ok(None),
            Err(_) => return Err(Error::unavailable(format!("{} does not answer", node.name))),
        };
        let topology = Topology::parse(&reply.toml, &format!("topology of {}", node.name))
            .map_err(|error| Error::new(tao_schema::ErrorCode::Corrupt, error.to_string()))?;
        Ok(Some(topology))
    }

    async fn connect(&mut self, node: &NodeAsked) -> Result<PeerClient<Channel>> {
        if let Some((_, client)) = self.open.as_ref().filter(|(open, _)| open == node) {
            return Ok(client.clone());
        }
        let channel = dial(self.translate.address(&node.address), &self.options).await?;
        let client = PeerClient::new(channel).max_decoding_message_size(4 * MAX_MESSAGE_BYTES);
        self.open = Some((node.clone(), client.clone()));
        Ok(client)
    }
}
