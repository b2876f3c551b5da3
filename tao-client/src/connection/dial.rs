//! How a connection reaches its peer: TCP, or a transport that a test or a simulation supplies.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tao_schema::{Error, Result};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};

use super::ConnectionOptions;

/// A byte stream to a peer.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A byte stream that is being opened.
pub type Dialing = Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send>>;

/// Where byte streams come from.
#[derive(Clone, Default)]
pub enum Dialer {
    /// The network.
    #[default]
    Tcp,
    /// A transport in memory: given the address, opens a stream.
    Custom(Arc<dyn Fn(&str) -> Dialing + Send + Sync>),
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "Tcp",
            Self::Custom(_) => "Custom",
        })
    }
}

/// Opens an HTTP/2 connection to `address` (`host:port`).
///
/// # Errors
/// `Unavailable` if the peer can't be reached within the connect timeout, `InvalidArgument` for a malformed address.
pub async fn dial(address: &str, options: &ConnectionOptions) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| Error::invalid(format!("address {address}: {error}")))?
        .tcp_nodelay(true)
        .connect_timeout(options.connect_timeout)
        .http2_keep_alive_interval(options.keep_alive_interval)
        .keep_alive_timeout(options.keep_alive_timeout)
        .keep_alive_while_idle(true);
    let connecting = async {
        match &options.dialer {
            Dialer::Tcp => endpoint.connect().await,
            Dialer::Custom(dial) => {
                let connector = Connector { dial: dial.clone(), address: address.to_owned() };
                endpoint.connect_with_connector(connector).await
            }
        }
    };
    match tokio::time::timeout(options.connect_timeout, connecting).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => {
            Err(Error::unavailable(format!("can't connect to {address}: {}", root_cause(&error))))
        }
        Err(_) => Err(Error::unavailable(format!(
            "can't connect to {address} within {} ms",
            options.connect_timeout.as_millis()
        ))),
    }
}

/// The innermost reason: transport errors say only "transport error" themselves.
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

struct Connector {
    dial: Arc<dyn Fn(&str) -> Dialing + Send + Sync>,
    address: String,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Io>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let dialing = (self.dial)(&self.address);
        Box::pin(async move { Ok(TokioIo::new(dialing.await?)) })
    }
}
