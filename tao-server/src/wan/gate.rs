//! The listening end of a link, which a partition closes to those who want to connect.
//!
//! The kernel answers a handshake before any program accepts it. So that a caller hangs as it does when its packets are
//! lost, the queue of those who wait to be accepted is made as short as it gets, and filled: then Linux drops further
//! attempts, and callers try again after a second, two, four and so on, as on a real network.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// Who may wait to be accepted, as is usual.
const WAITING: i32 = 1_024;

/// A listener that can be shut.
pub(super) struct Gate {
    listener: TcpListener,
    /// Our own connection that fills the queue while the gate is shut.
    filler: Option<Socket>,
    /// Ports of fillers that may still come out of the queue.
    fillers: Vec<SocketAddr>,
}

impl Gate {
    pub(super) async fn open() -> io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        Ok(Self { listener, filler: None, fillers: Vec::new() })
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    pub(super) const fn is_shut(&self) -> bool {
        self.filler.is_some()
    }

    /// Lets nobody connect any more. Who was connected and not accepted yet is accepted after [`Gate::reopen`].
    pub(super) fn shut(&mut self) -> io::Result<()> {
        let address = self.listener.local_addr()?;
        let filler = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        filler.set_nonblocking(true)?;
        filler.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        let own = filler.local_addr()?.as_socket();
        // A queue of length 0 holds one.
        SockRef::from(&self.listener).listen(0)?;
        // "In progress", or lost where somebody else was faster and fills the queue.
        let _under_way = filler.connect(&address.into());
        self.fillers.extend(own);
        self.filler = Some(filler);
        Ok(())
    }

    /// Lets everybody connect again.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.filler = None;
        SockRef::from(&self.listener).listen(WAITING)
    }

    /// The next connection that is not our own.
    pub(super) async fn accept(&mut self) -> io::Result<TcpStream> {
        loop {
            let (stream, peer) = self.listener.accept().await?;
            match self.fillers.iter().position(|filler| *filler == peer) {
                Some(at) => drop(self.fillers.swap_remove(at)),
                None => return Ok(stream),
            }
        }
    }
}
