//! One connection through a link.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::Instant;

use super::WanOptions;
use super::conditions::{End, State, Way, pass, until};

/// Bytes that one read takes at most.
const READ_BYTES: usize = 64 << 10;
/// Where the bandwidth is limited, bytes come out in pieces of this much time.
const PIECE_TIME: Duration = Duration::from_millis(10);

/// What all connections of a link share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) target: SocketAddr,
    pub(super) options: WanOptions,
    /// Bytes that came out: out, back.
    pub(super) carried: [AtomicU64; 2],
}

/// A connection that does not work any more, which one of its ends was told by the other or by its own system.
struct Broken;

/// A piece of a stream.
struct Piece {
    sent: Instant,
    /// Its share of the jitter.
    luck: f64,
    what: What,
    _room: Option<OwnedSemaphorePermit>,
}

enum What {
    Bytes(Bytes),
    End,
    Reset,
}

/// One direction of one connection.
struct Direction<'a> {
    from: &'a TcpStream,
    to: &'a TcpStream,
    way: Way,
    shared: &'a Shared,
    state: watch::Receiver<State>,
    random: StdRng,
}

impl Shared {
    pub(super) const fn new(target: SocketAddr, options: WanOptions) -> Self {
        Self { target, options, carried: [AtomicU64::new(0), AtomicU64::new(0)] }
    }
}

/// Carries one connection until both directions have ended, or something ends it. `began` is the state in which it was
/// accepted, `number` tells it from others in what is left to chance.
pub(super) async fn carry(
    near: TcpStream,
    shared: Arc<Shared>,
    number: u64,
    began: State,
    mut state: watch::Receiver<State>,
) {
    let mut resets = state.clone();
    let was_reset = until(&mut resets, |now| now.resets > began.resets);
    tokio::pin!(was_reset);
    let opening = async {
        // Accepted by the system just before a partition: the target hears of it after that.
        until(&mut state, |now| !now.is_shut()).await;
        let socket = if shared.target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // The target may have accepted before this task hears of it: a reset in between must reach the target, too.
        SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
        let far = socket.connect(shared.target).await?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        io::Result::Ok(far)
    };
    let far = tokio::select! {
        far = opening => far,
        _ = &mut was_reset => return abort(&near),
    };
    let far = match far.and_then(|far| SockRef::from(&far).set_linger(None).map(|()| far)) {
        Ok(far) => far,
        Err(error) => {
            // The caller sees a refusal of the target as a connection that is reset at once.
            tracing::debug!(target_address = %shared.target, %error, "link could not reach its target");
            return abort(&near);
        }
    };
    let direction = |from, to, way: Way| {
        let seed = shared.options.seed.wrapping_add(number.wrapping_mul(2) + u64::from(way == Way::Back));
        let random = StdRng::seed_from_u64(seed);
        Direction { from, to, way, shared: &shared, state: state.clone(), random }.run()
    };
    let mut losses = state.clone();
    tokio::select! {
        ended = async { tokio::try_join!(direction(&near, &far, Way::Out), direction(&far, &near, Way::Back)) } => {
            if ended.is_err() {
                abort(&near);
                abort(&far);
            }
        }
        _ = &mut was_reset => {
            abort(&near);
            abort(&far);
        }
        lost = until(&mut losses, |now| now.losses > began.losses) => {
            let (left, gone) = match lost.gone {
                Some(End::Near) => (far, near),
                Some(End::Far) | None => (near, far),
            };
            abort(&gone);
            drop(gone);
            tokio::select! {
                () = half_open(&left, lost.losses, losses) => {}
                _ = was_reset => abort(&left),
            }
        }
    }
}

/// The socket's close will be a reset, and nothing that waits to be sent is.
fn abort(stream: &TcpStream) {
    // Fails on a socket that is closed already, which needs no reset.
    let _closed = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// One end is gone and the other does not know: what it sends comes to nothing, until it gives up, or whoever is at the
/// other end's address answers again, with a reset.
async fn half_open(left: &TcpStream, loss: u64, mut state: watch::Receiver<State>) {
    let mut nothing = vec![0; READ_BYTES];
    let mut sent = false;
    let mut answers = false;
    loop {
        tokio::select! {
            read = read(left, &mut nothing) => match read {
                Ok(length) if length > 0 => sent = true,
                Ok(_) | Err(_) => return,
            },
            _ = until(&mut state, |now| now.returned >= loss), if !answers => answers = true,
        }
        if sent && answers {
            return abort(left);
        }
    }
}

async fn read(from: &TcpStream, mut into: &mut [u8]) -> io::Result<usize> {
    loop {
        from.readable().await?;
        match from.try_read_buf(&mut into) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

impl Direction<'_> {
    /// The end of the stream travels like its bytes, so a half-closed connection stays usable the other way; so does a
    /// reset, which breaks both.
    async fn run(mut self) -> Result<(), Broken> {
        let options = self.shared.options;
        let (sender, receiver) = mpsc::channel(options.pieces_under_way);
        let random = self.random.clone();
        let ((), given) = tokio::join!(take_in(self.from, sender, options, random), self.give_out(receiver));
        given
    }

    async fn give_out(&mut self, mut pieces: mpsc::Receiver<Piece>) -> Result<(), Broken> {
        let mut free = Instant::now();
        while let Some(Piece { sent, luck, what, _room }) = pieces.recv().await {
            let way = self.way;
            match what {
                What::Bytes(bytes) => {
                    pass(&mut self.state, way, |now| sent + now.latency + now.jitter.mul_f64(luck)).await;
                    if self.write(&bytes, &mut free).await.is_err() {
                        // Who sent it learns that in the time of an answer.
                        let failed = Instant::now();
                        pass(&mut self.state, way.other(), |now| failed + now.latency).await;
                        return Err(Broken);
                    }
                }
                What::End => {
                    pass(&mut self.state, way, |now| sent + now.latency + now.close_delay).await;
                    // The other side may have closed already.
                    let _gone = SockRef::from(self.to).shutdown(Shutdown::Write);
                }
                What::Reset => {
                    pass(&mut self.state, way, |now| sent + now.latency).await;
                    return Err(Broken);
                }
            }
        }
        Ok(())
    }

    /// Writes at the pace of the bandwidth; `free` is when the wire is free for more.
    async fn write(&mut self, mut bytes: &[u8], free: &mut Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            let rate = self.state.borrow().of(self.way).bytes_per_second;
            let length = rate.map_or(bytes.len(), |rate| {
                let most = u128::from(rate.get()) * PIECE_TIME.as_micros() / 1_000_000;
                usize::try_from(most).unwrap_or(usize::MAX).clamp(1, bytes.len())
            });
            let busy = *free;
            // Without a limit what waits for the wire goes at once.
            pass(&mut self.state, self.way, |now| match now.bytes_per_second {
                Some(_) => busy,
                None => Instant::now(),
            })
            .await;
            let (now, later) = bytes.split_at(length);
            write_all(self.to, now).await?;
            let direction = usize::from(self.way == Way::Back);
            self.shared.carried[direction].fetch_add(length as u64, Ordering::Relaxed);
            if let Some(rate) = rate {
                let took = Duration::from_secs_f64(length as f64 / rate.get() as f64);
                *free = Instant::now().max(busy) + took;
            }
            bytes = later;
        }
        Ok(())
    }
}

async fn take_in(from: &TcpStream, pieces: mpsc::Sender<Piece>, options: WanOptions, mut random: StdRng) {
    let most = READ_BYTES.min(options.bytes_under_way).max(1);
    let room = Arc::new(Semaphore::new(options.bytes_under_way.max(most)));
    let mut buffer = BytesMut::new();
    loop {
        // Room first: the length that comes is not known, so it is asked for the most and the rest given back.
        let Ok(mut taken) = Arc::clone(&room).acquire_many_owned(most as u32).await else { return };
        buffer.reserve(most);
        let read = tokio::select! {
            read = read_buffer(from, &mut buffer, most) => read,
            // The other end is gone: nobody takes what is still to come.
            () = pieces.closed() => return,
        };
        let sent = Instant::now();
        let (what, room) = match read {
            Ok(length) if length > 0 => {
                drop(taken.split(most - length));
                (What::Bytes(buffer.split().freeze()), Some(taken))
            }
            Ok(_) => (What::End, None),
            Err(_) => (What::Reset, None),
        };
        let last = room.is_none();
        let piece = Piece { sent, luck: random.random(), what, _room: room };
        if pieces.send(piece).await.is_err() || last {
            return;
        }
    }
}

async fn read_buffer(from: &TcpStream, buffer: &mut BytesMut, most: usize) -> io::Result<usize> {
    loop {
        from.readable().await?;
        match from.try_read_buf(&mut (&mut *buffer).limit(most)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
