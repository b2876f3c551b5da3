//! A link with a delay: what `tao dev` puts between its regions, on one machine.
//!
//! A [`WanLink`] listens on a loopback port and passes every connection on to one address. Each byte comes out one
//! latency after it went in, in order, in each direction; so an answer takes two of them. What is under way is bounded;
//! beyond it the sender waits, as on a full pipe. The handshake of TCP itself takes no time here.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Bytes that one read takes at most.
const READ_BYTES: usize = 64 << 10;

/// How a link behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WanOptions {
    /// Time that each byte takes, in each direction.
    pub latency: Duration,
    /// Bytes under way in one direction of one connection.
    pub bytes_under_way: usize,
    /// Pieces under way in one direction of one connection.
    pub pieces_under_way: usize,
    /// Connections at once; more are closed when they come.
    pub connections: usize,
}

/// A link that is open. Dropping it closes its port and all of its connections.
#[derive(Debug)]
pub struct WanLink {
    address: SocketAddr,
    _open: DropGuard,
}

impl WanOptions {
    /// A link of this latency that carries as much as a local network, about.
    pub const fn with_latency(latency: Duration) -> Self {
        Self { latency, bytes_under_way: 16 << 20, pieces_under_way: 8_192, connections: 1_024 }
    }
}

impl WanLink {
    /// Opens a link to `target` on a free loopback port.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn open(target: SocketAddr, options: WanOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let address = listener.local_addr()?;
        let closed = CancellationToken::new();
        tokio::spawn(accept(listener, target, options, closed.clone()));
        Ok(Self { address, _open: closed.drop_guard() })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, options: WanOptions, closed: CancellationToken) {
    let connections = Arc::new(Semaphore::new(options.connections));
    loop {
        let accepted = tokio::select! {
            () = closed.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((near, _)) => {
                let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
                    tracing::warn!(%target, connections = options.connections, "link is full: connection closed");
                    continue;
                };
                tokio::spawn(carry(near, target, options, closed.clone(), permit));
            }
            // Out of descriptors, say: others may be closed meanwhile.
            Err(error) => {
                tracing::warn!(%target, %error, "link can't accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Carries one connection until both directions have ended, or the link is closed.
async fn carry(
    near: TcpStream,
    target: SocketAddr,
    options: WanOptions,
    closed: CancellationToken,
    _counted: OwnedSemaphorePermit,
) {
    let both_ways = async {
        // The caller sees a refusal of the target as a connection that is closed at once.
        let far = TcpStream::connect(target).await?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        tokio::join!(one_way(near_in, far_out, options), one_way(far_in, near_out, options));
        io::Result::Ok(())
    };
    tokio::select! {
        () = closed.cancelled() => {}
        ended = both_ways => if let Err(error) = ended {
            tracing::debug!(%target, %error, "link could not carry a connection");
        },
    }
}

/// A piece of the stream, and when it comes out.
struct Piece {
    due: Instant,
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

/// One direction. The end of the stream travels like its bytes, so a half-closed connection stays usable the other
/// way; so does a failure, which the other side sees as an end.
async fn one_way(from: OwnedReadHalf, to: OwnedWriteHalf, options: WanOptions) {
    let (sender, receiver) = mpsc::channel(options.pieces_under_way);
    tokio::join!(take_in(from, sender, options), give_out(to, receiver, options.latency));
}

async fn take_in(mut from: OwnedReadHalf, pieces: mpsc::Sender<Piece>, options: WanOptions) {
    let most = READ_BYTES.min(options.bytes_under_way).max(1);
    let room = Arc::new(Semaphore::new(options.bytes_under_way.max(most)));
    let mut buffer = BytesMut::new();
    loop {
        // Room first: the length that comes is not known, so it is asked for the most and the rest given back.
        let Ok(mut taken) = Arc::clone(&room).acquire_many_owned(most as u32).await else { return };
        buffer.reserve(most);
        let mut limited = (&mut from).take(most as u64);
        let read = tokio::select! {
            read = limited.read_buf(&mut buffer) => read,
            // The other end is gone: nobody takes what is still to come.
            () = pieces.closed() => return,
        };
        let length = match read {
            Ok(length) if length > 0 => length,
            // Dropping the sender is the end of the stream for `give_out`, behind all pieces.
            Ok(_) | Err(_) => return,
        };
        drop(taken.split(most - length));
        let piece =
            Piece { due: Instant::now() + options.latency, bytes: buffer.split().freeze(), _room: taken };
        if pieces.send(piece).await.is_err() {
            return;
        }
    }
}

async fn give_out(mut to: OwnedWriteHalf, mut pieces: mpsc::Receiver<Piece>, latency: Duration) {
    while let Some(piece) = pieces.recv().await {
        tokio::time::sleep_until(piece.due).await;
        if to.write_all(&piece.bytes).await.is_err() {
            return;
        }
    }
    tokio::time::sleep(latency).await;
    // The other side may have closed already.
    let _gone = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENCY: Duration = Duration::from_millis(40);

    /// A link to a listener, and both ends of a connection through it.
    async fn connected(options: WanOptions) -> (WanLink, TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = WanLink::open(listener.local_addr().unwrap(), options).await.unwrap();
        let near = TcpStream::connect(link.address()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        (link, near, far)
    }

    #[tokio::test]
    async fn bytes_take_the_latency_in_each_direction_and_keep_their_order() {
        let (_link, mut near, mut far) = connected(WanOptions::with_latency(LATENCY)).await;
        let began = Instant::now();
        for byte in 0..100u8 {
            near.write_all(&[byte]).await.unwrap();
        }
        let mut got = [0; 100];
        far.read_exact(&mut got).await.unwrap();
        assert!(began.elapsed() >= LATENCY, "{:?}", began.elapsed());
        assert_eq!(got.to_vec(), (0..100).collect::<Vec<u8>>());

        let began = Instant::now();
        far.write_all(b"answer").await.unwrap();
        near.read_exact(&mut got[..6]).await.unwrap();
        assert!(began.elapsed() >= LATENCY, "{:?}", began.elapsed());
        assert_eq!(&got[..6], b"answer");
    }

    #[tokio::test]
    async fn a_half_closed_connection_still_works_the_other_way() {
        let (_link, mut near, mut far) = connected(WanOptions::with_latency(LATENCY)).await;
        near.write_all(b"question").await.unwrap();
        near.shutdown().await.unwrap();
        let mut asked = Vec::new();
        far.read_to_end(&mut asked).await.unwrap();
        assert_eq!(asked, b"question");
        far.write_all(b"answer").await.unwrap();
        drop(far);
        let mut answered = Vec::new();
        near.read_to_end(&mut answered).await.unwrap();
        assert_eq!(answered, b"answer");
    }

    #[tokio::test]
    async fn more_than_fits_arrives_whole() {
        let options = WanOptions {
            bytes_under_way: 10_000,
            pieces_under_way: 3,
            ..WanOptions::with_latency(Duration::from_millis(2))
        };
        let (_link, mut near, mut far) = connected(options).await;
        let sent: Vec<u8> = (0..200_000u32).map(|at| (at % 251) as u8).collect();
        let copy = sent.clone();
        let sending = tokio::spawn(async move {
            near.write_all(&copy).await.unwrap();
            near.shutdown().await.unwrap();
        });
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        sending.await.unwrap();
        assert!(got == sent, "{} bytes came of {}", got.len(), sent.len());
    }

    #[tokio::test]
    async fn closing_the_link_ends_its_connections() {
        let (link, mut near, _far) = connected(WanOptions::with_latency(LATENCY)).await;
        let address = link.address();
        drop(link);
        let mut got = Vec::new();
        // Either an end or a reset.
        assert_eq!(near.read_to_end(&mut got).await.unwrap_or(0), 0);
        assert!(TcpStream::connect(address).await.is_err());
    }
}
