//! Byte streams in memory between clients and fake nodes, which can be cut at any moment.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tao_schema::wire::proto::peer_server::{Peer, PeerServer};
use tao_schema::wire::proto::tao_server::{Tao, TaoServer};
use tokio::io::{DuplexStream, copy_bidirectional};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::Router;

use crate::connection::{Dialer, Io};

/// Bytes that a stream holds in each direction before its writer waits.
const PIPE_BYTES: usize = 1 << 20;

/// A network of nodes in memory. Cheap to clone.
#[derive(Clone, Default)]
pub struct Network {
    nodes: Arc<Mutex<HashMap<String, Served>>>,
}

struct Served {
    accept: mpsc::UnboundedSender<io::Result<DuplexStream>>,
    server: AbortHandle,
    /// The tasks that carry the bytes of its connections: ending one cuts the connection for both sides.
    wires: Vec<AbortHandle>,
}

impl Network {
    /// An empty network.
    pub fn new() -> Self {
        Self::default()
    }

    /// Byte streams to the nodes of this network.
    pub fn dialer(&self) -> Dialer {
        let nodes = self.nodes.clone();
        Dialer::Custom(Arc::new(move |address| {
            let dialed = connect(&nodes, address);
            Box::pin(async move { dialed.map(|stream| Box::new(stream) as Box<dyn Io>) })
        }))
    }

    /// Serves `node` at `address`, replacing what was there.
    pub fn serve<T: Tao>(&self, address: &str, node: T) {
        self.listen(address, Server::builder().add_service(TaoServer::new(node)));
    }

    /// Serves the nodes' own service at `address`, replacing what was there.
    pub fn serve_peer<T: Peer>(&self, address: &str, node: T) {
        self.listen(address, Server::builder().add_service(PeerServer::new(node)));
    }

    /// Cuts every connection to `address` and refuses new ones.
    pub fn kill(&self, address: &str) {
        if let Some(served) = self.nodes.lock().remove(address) {
            served.end();
        }
    }

    /// Cuts every connection to `address`; new ones are accepted.
    pub fn cut(&self, address: &str) {
        if let Some(served) = self.nodes.lock().get_mut(address) {
            served.wires.drain(..).for_each(|wire| wire.abort());
        }
    }

    fn listen(&self, address: &str, router: Router) {
        let (accept, accepted) = mpsc::unbounded_channel();
        let server = tokio::spawn(async move {
            if let Err(error) = router.serve_with_incoming(UnboundedReceiverStream::new(accepted)).await {
                tracing::warn!(%error, "fake node failed");
            }
        });
        let served = Served { accept, server: server.abort_handle(), wires: Vec::new() };
        if let Some(before) = self.nodes.lock().insert(address.to_owned(), served) {
            before.end();
        }
    }
}

impl Served {
    fn end(self) {
        self.server.abort();
        self.wires.iter().for_each(AbortHandle::abort);
    }
}

fn connect(nodes: &Mutex<HashMap<String, Served>>, address: &str) -> io::Result<DuplexStream> {
    let mut nodes = nodes.lock();
    let refused =
        || io::Error::new(io::ErrorKind::ConnectionRefused, format!("nothing listens at {address}"));
    let served = nodes.get_mut(address).ok_or_else(refused)?;
    let (client, mut near) = tokio::io::duplex(PIPE_BYTES);
    let (mut far, server) = tokio::io::duplex(PIPE_BYTES);
    served.accept.send(Ok(server)).map_err(|_| refused())?;
    let wire = tokio::spawn(async move {
        // An error is the end of the connection, which both sides see.
        let _ = copy_bidirectional(&mut near, &mut far).await;
    });
    served.wires.push(wire.abort_handle());
    Ok(client)
}
