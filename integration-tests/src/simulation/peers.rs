//! Leaders as others reach them: every call and every stream goes through the simulated network.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use rand::Rng as _;
use tao_leader_follower::leader::LeaderHandle;
use tao_leader_follower::ports::{ChangeStream, LeaderPeer, LeaderPeers, SubscriptionControl, WriteAnswer};
use tao_schema::ids::ShardId;
use tao_schema::ops::{FillReply, FillRequest, InverseState, ReadReply, ReadRequest, WriteRequest};
use tao_schema::stream::{StreamMessage, SubscribeShard};
use tao_schema::{Error, ErrorCode, Result};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::network::{End, Lost, Network, Process};

/// Messages that are on their way in one direction of a stream.
const ON_THE_WAY: usize = 64;
/// Opening a stream takes at most this; whoever opens it has a limit of its own.
const OPENING: Duration = Duration::from_secs(10);

/// The leaders that run now, by their ends.
#[derive(Clone, Default)]
pub struct RunningLeaders(Arc<Mutex<BTreeMap<End, LeaderHandle>>>);

impl RunningLeaders {
    /// Another process took this end.
    pub fn put(&self, end: End, handle: LeaderHandle) {
        self.0.lock().insert(end, handle);
    }

    /// The process at this end is gone.
    pub fn take(&self, end: End) -> Option<LeaderHandle> {
        self.0.lock().remove(&end)
    }

    /// Who runs at an end.
    pub fn get(&self, end: End) -> Option<LeaderHandle> {
        self.0.lock().get(&end).cloned()
    }
}

/// All leaders of the cluster as one process sees them.
pub struct Peers(BTreeMap<String, Arc<dyn LeaderPeer>>);

impl Peers {
    /// The ways of `process` to the leaders at these ends.
    pub fn new(process: &Process, network: &Network, leaders: &RunningLeaders, ends: &[End]) -> Self {
        let way = |to: &End| {
            let remote = Remote {
                network: network.clone(),
                process: process.clone(),
                to: *to,
                name: network.name(*to),
                leaders: leaders.clone(),
            };
            (remote.name.clone(), Arc::new(remote) as Arc<dyn LeaderPeer>)
        };
        Self(ends.iter().map(way).collect())
    }
}

impl LeaderPeers for Peers {
    fn leader(&self, name: &str) -> Option<Arc<dyn LeaderPeer>> {
        self.0.get(name).cloned()
    }
}

/// One leader at the other end of the network.
#[derive(Clone)]
struct Remote {
    network: Network,
    process: Process,
    to: End,
    name: String,
    leaders: RunningLeaders,
}

impl Remote {
    /// As over gRPC: a read that was lost did nothing; a write that was sent may have been done (R4).
    async fn call<T: Send + 'static, F>(
        &self,
        what: &'static str,
        deadline: Instant,
        is_write: bool,
        work: impl FnOnce(LeaderHandle) -> F + Send + 'static,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (leaders, to) = (self.leaders.clone(), self.to);
        let work = async move || match leaders.get(to) {
            Some(leader) => work(leader).await,
            None => Err(Error::unavailable("nobody listens there")),
        };
        match self.network.call(&self.process, self.to, deadline, what, work).await {
            Ok(result) => result,
            Err(lost) => Err(lost_call(lost, is_write, &self.name)),
        }
    }
}

/// What a caller says of a call that was lost.
pub(super) fn lost_call(lost: Lost, is_write: bool, name: &str) -> Error {
    let code = match lost {
        Lost::Refused => ErrorCode::Unavailable,
        Lost::Broken | Lost::Silence if is_write => ErrorCode::OutcomeUnknown,
        Lost::Broken => ErrorCode::Unavailable,
        Lost::Silence => ErrorCode::DeadlineExceeded,
    };
    Error::new(code, format!("the call to {name} was lost: {lost:?}"))
}

#[async_trait]
impl LeaderPeer for Remote {
    fn name(&self) -> &str {
        &self.name
    }

    async fn read(&self, request: ReadRequest, deadline: Instant) -> Result<ReadReply> {
        let work = async move |leader: LeaderHandle| leader.read(request, deadline).await;
        self.call("read", deadline, false, work).await
    }

    async fn fill(&self, request: FillRequest, deadline: Instant) -> Result<FillReply> {
        let work = async move |leader: LeaderHandle| leader.fill(request, deadline).await;
        self.call("fill", deadline, false, work).await
    }

    async fn write(&self, request: WriteRequest, deadline: Instant) -> Result<WriteAnswer> {
        let work = async move |leader: LeaderHandle| leader.write(request, deadline).await;
        self.call("write", deadline, true, work).await
    }

    async fn apply_inverse(&self, states: Vec<InverseState>, deadline: Instant) -> Result<WriteAnswer> {
        let work = async move |leader: LeaderHandle| leader.apply_inverse(states, deadline).await;
        self.call("inverse", deadline, true, work).await
    }

    async fn changes(&self, follower: &str) -> Result<ChangeStream> {
        let follower = follower.to_owned();
        let work = async move |leader: LeaderHandle| leader.changes(&follower).await;
        let stream = self.call("changes", Instant::now() + OPENING, false, work).await?;
        let server = self.network.process(self.to).map(|process| process.dead).unwrap_or_default();
        let wire = Wire {
            network: self.network.clone(),
            near: self.process.end,
            far: self.to,
            ends: [self.process.dead.clone(), server, self.network.streams(self.process.end, self.to)],
        };
        Ok(wire.connect(stream))
    }
}

/// Both directions of one stream.
#[derive(Clone)]
struct Wire {
    network: Network,
    /// Who opened it.
    near: End,
    far: End,
    /// The stream ends with any of these: one of the two processes is dead, or the connection broke.
    ends: [CancellationToken; 3],
}

type Message = (Instant, Result<StreamMessage>);
type Command = (Instant, Said);

enum Said {
    Subscribe(Vec<SubscribeShard>),
    Unsubscribe(Vec<ShardId>),
    Probe(u64),
}

impl Wire {
    fn connect(self, stream: ChangeStream) -> ChangeStream {
        let (down, messages) = mpsc::channel::<Message>(ON_THE_WAY);
        let (up, commands) = mpsc::channel::<Command>(ON_THE_WAY);
        let open = self.network.opened(self.near, self.far);
        let bring_down = self.clone().bring_down(stream.messages, down);
        tokio::spawn(async move {
            let _open = open;
            bring_down.await;
        });
        tokio::spawn(self.clone().bring_up(stream.control, commands));
        let control = Control { wire: self.clone(), up, last: Mutex::new(Instant::now()) };
        let messages = futures_util::stream::unfold((self, messages), |(wire, mut messages)| async move {
            let (due, message) = messages.recv().await?;
            sleep_until(due).await;
            let patience = wire.patience();
            let passed = wire.network.passable(wire.far, wire.near, patience).await;
            let message = match passed {
                Ok(()) => message,
                Err(_) => {
                    messages.close();
                    while messages.try_recv().is_ok() {}
                    Err(Error::unavailable("the change stream broke"))
                }
            };
            wire.network.trace().event("message", &[wire.far.0.into(), wire.near.0.into()], || {
                format!("{} -> {}: {message:?}", wire.network.name(wire.far), wire.network.name(wire.near))
            });
            Some((message, (wire, messages)))
        });
        ChangeStream { control: Arc::new(control), messages: messages.boxed() }
    }

    async fn ended(&self) -> usize {
        let [near, far, broken] = &self.ends;
        tokio::select! {
            biased;
            () = near.cancelled() => 0,
            () = far.cancelled() => 1,
            () = broken.cancelled() => 2,
        }
    }

    /// How long a stream that is cut lives on.
    fn patience(&self) -> Duration {
        Duration::from_millis(self.network.draw(|random| random.random_range(500..8_000)))
    }

    /// In order, each after its delay.
    fn due(&self, from: End, to: End, last: Instant) -> Instant {
        last.max(Instant::now() + self.network.delay(from, to))
    }

    async fn bring_down(
        self,
        mut messages: futures_util::stream::BoxStream<'static, Result<StreamMessage>>,
        down: mpsc::Sender<Message>,
    ) {
        let mut last = Instant::now();
        loop {
            let message = tokio::select! {
                biased;
                which = self.ended() => {
                    // A process that dies may take its connections with it, or leave silence.
                    if which == 1 && self.network.draw(|random| random.random_bool(0.5)) {
                        self.silence(&down).await;
                        return;
                    }
                    Some(Err(Error::unavailable("the change stream broke")))
                }
                () = down.closed() => None,
                message = messages.next() => message,
            };
            let Some(message) = message else { return };
            let (is_last, due) = (message.is_err(), self.due(self.far, self.near, last));
            last = due;
            if down.send((due, message)).await.is_err() || is_last {
                return;
            }
        }
    }

    /// Keeps the stream open without a word.
    async fn silence(&self, down: &mpsc::Sender<Message>) {
        tokio::select! {
            biased;
            () = self.ends[0].cancelled() => {}
            () = down.closed() => {}
        }
    }

    async fn bring_up(self, control: Arc<dyn SubscriptionControl>, mut commands: mpsc::Receiver<Command>) {
        let bring = async {
            while let Some((due, said)) = commands.recv().await {
                sleep_until(due).await;
                if self.network.passable(self.near, self.far, self.patience()).await.is_err() {
                    return;
                }
                let done = match said {
                    Said::Subscribe(shards) => control.subscribe(shards).await,
                    Said::Unsubscribe(shards) => control.unsubscribe(shards).await,
                    Said::Probe(number) => control.probe(number).await,
                };
                if done.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            _ = self.ended() => {}
            () = bring => {}
        }
    }
}

/// The near end of a stream's way up: what is said is queued, not heard yet.
struct Control {
    wire: Wire,
    up: mpsc::Sender<Command>,
    last: Mutex<Instant>,
}

impl Control {
    async fn say(&self, said: Said) -> Result<()> {
        let due = {
            let mut last = self.last.lock();
            *last = self.wire.due(self.wire.near, self.wire.far, *last);
            *last
        };
        self.up.send((due, said)).await.map_err(|_| Error::unavailable("the change stream has ended"))
    }
}

#[async_trait]
impl SubscriptionControl for Control {
    async fn subscribe(&self, shards: Vec<SubscribeShard>) -> Result<()> {
        self.say(Said::Subscribe(shards)).await
    }

    async fn probe(&self, number: u64) -> Result<()> {
        self.say(Said::Probe(number)).await
    }

    async fn unsubscribe(&self, shards: Vec<ShardId>) -> Result<()> {
        self.say(Said::Unsubscribe(shards)).await
    }
}
