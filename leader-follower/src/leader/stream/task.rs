//! The task of one subscriber.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tao_schema::ids::{HostGroupId, Position, PrimaryTime, ShardId};
use tao_schema::rows::ShardState;
use tao_schema::stream::{GroupAge, StreamMessage, SubscribeShard};
use tao_schema::{Error, Result};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::super::Inner;
use super::cursor::Cursor;
use super::{Buffered, Command, Wake};
use crate::core::weight;

pub(super) struct Subscriber {
    inner: Arc<Inner>,
    name: String,
    wake: Arc<Wake>,
    messages: mpsc::Sender<Buffered>,
    /// Bytes that may wait in `messages`.
    room: Arc<Semaphore>,
    /// Shards asked for, until they are open.
    wanted: BTreeMap<ShardId, Option<Position>>,
    opening: JoinSet<(ShardId, Result<()>)>,
    cursors: BTreeMap<ShardId, Cursor>,
}

/// What a step of the task leads to.
type Step = std::result::Result<(), Ended>;

/// The reader is gone, or the leader stops.
struct Ended;

impl Subscriber {
    pub(super) fn new(inner: Arc<Inner>, name: String, messages: mpsc::Sender<Buffered>) -> Self {
        inner.metrics.streams.inc();
        Self {
            room: Arc::new(Semaphore::new(room(&inner) as usize)),
            inner,
            name,
            wake: Arc::default(),
            messages,
            wanted: BTreeMap::new(),
            opening: JoinSet::new(),
            cursors: BTreeMap::new(),
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let every = self.inner.options.stream.heartbeat;
        let mut heartbeat = interval_at(Instant::now() + every, every);
        // Late beats are not made up for: one is as good as two.
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tracing::info!(follower = %self.name, "change stream opened");
        let ended = loop {
            let wake = Arc::clone(&self.wake);
            let step = tokio::select! {
                biased;
                () = self.inner.stop_streams.cancelled() => Err(Ended),
                () = self.messages.closed() => Err(Ended),
                // Before news: heartbeats must come even when there is always news.
                _ = heartbeat.tick() => self.beat(0).await,
                Some(command) = commands.recv() => match command {
                    Command::Probe(number) => self.beat(number).await,
                    command => {
                        self.take(command);
                        Ok(())
                    }
                },
                Some(opened) = self.opening.join_next() => match opened {
                    Ok((shard, result)) => self.opened(shard, result).await,
                    Err(crash) => {
                        tracing::error!(%crash, "opening a shard for a subscriber crashed");
                        Err(Ended)
                    }
                },
                () = wake.news.notified() => self.pass_on().await,
            };
            if let Err(ended) = step {
                break ended;
            }
        };
        self.end(ended);
    }

    fn end(self, _ended: Ended) {
        if self.inner.stop_streams.is_cancelled() {
            // No room: the reader has messages to read, and then sees the end of the stream.
            let _ = self.messages.try_send(Buffered {
                message: Err(Error::unavailable("this leader is shutting down")),
                _room: None,
            });
        }
        tracing::info!(follower = %self.name, "change stream closed");
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Subscribe(shards) => {
                for SubscribeShard { shard, from } in shards {
                    self.open(shard, from);
                }
            }
            Command::Unsubscribe(shards) => {
                for shard in shards {
                    self.wanted.remove(&shard);
                    self.cursors.remove(&shard);
                    self.unlisten(shard);
                }
            }
            // Answered where it can be waited for.
            Command::Probe(_) => {}
        }
    }

    /// In a task: a log that is not followed yet must not hold up the other shards.
    fn open(&mut self, shard: ShardId, from: Option<Position>) {
        if self.cursors.remove(&shard).is_some() {
            self.unlisten(shard);
        }
        if self.wanted.insert(shard, from).is_some() {
            return;
        }
        let inner = Arc::clone(&self.inner);
        self.opening.spawn(async move { (shard, await_open(&inner, shard).await) });
    }

    async fn opened(&mut self, shard: ShardId, result: Result<()>) -> Step {
        // Unsubscribed meanwhile.
        let Some(from) = self.wanted.remove(&shard) else { return Ok(()) };
        match result {
            Err(error) => self.send(StreamMessage::Refused { shard, error }).await,
            Ok(()) => {
                if let Some(slot) = self.inner.shards.slot(shard) {
                    slot.listen(&self.wake);
                }
                self.cursors.insert(shard, Cursor::Ahead(from));
                self.pass_on_shard(shard).await
            }
        }
    }

    async fn pass_on(&mut self) -> Step {
        for shard in self.wake.take() {
            self.pass_on_shard(shard).await?;
        }
        Ok(())
    }

    async fn pass_on_shard(&mut self, shard: ShardId) -> Step {
        let Some(cursor) = self.cursors.get_mut(&shard) else { return Ok(()) };
        // While its log starts anew nothing is said; it wakes its subscribers when it has caught up.
        let Some(slot) = self.inner.shards.slot(shard).filter(|slot| slot.is_open()) else { return Ok(()) };
        for message in cursor.advance(&slot.core) {
            match &message {
                StreamMessage::Reset { .. } => drop(self.inner.metrics.stream_resets.inc()),
                StreamMessage::Epoch { .. } => drop(self.inner.metrics.stream_epochs.inc()),
                _ => {}
            }
            self.send(message).await?;
        }
        Ok(())
    }

    /// Behind everything that was marked, and everything that was not: a heartbeat that vouches for a shard has looked
    /// at it (H9).
    async fn beat(&mut self, probe: u64) -> Step {
        // First, what is known; then everything is passed on. The other way round it would vouch for what came between.
        let known = if probe == 0 { Vec::new() } else { self.known() };
        let _ = self.wake.take();
        let shards: Vec<ShardId> = self.cursors.keys().copied().collect();
        for shard in shards {
            self.pass_on_shard(shard).await?;
        }
        let positions = self.cursors.values().filter_map(Cursor::sent).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let sent_unix_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let ages = self.ages(known);
        self.send(StreamMessage::Heartbeat { positions, sent_unix_ms, probe, ages }).await
    }

    /// Since when the log of each host group is known.
    fn known(&self) -> Vec<(HostGroupId, Duration, PrimaryTime)> {
        let groups = self.inner.routes.groups.values();
        groups.filter_map(|group| group.health.known_at().map(|(at, time)| (group.id, at, time))).collect()
    }

    /// How old that is now, and the shards of this stream that it is true of: none that is fenced, or whose log is lost
    /// (R20).
    fn ages(&self, known: Vec<(HostGroupId, Duration, PrimaryTime)>) -> Vec<GroupAge> {
        let mut shards: BTreeMap<HostGroupId, Vec<ShardId>> = BTreeMap::new();
        for (shard, cursor) in &self.cursors {
            let vouched = |slot: &Arc<super::super::slot::Slot>| {
                slot.is_open() && slot.state() == ShardState::Serving && slot.core.is_continuous()
            };
            // By the log that feeds it: what `known` says of that one was taken in before, or else came from another log
            // up to the fence, and all that followed it here with the change of hands (R25).
            if cursor.sent().is_some()
                && let Some(slot) = self.inner.shards.slot(*shard).filter(|slot| vouched(slot))
                && let Some(group) = slot.handover.feed()
            {
                shards.entry(group).or_default().push(*shard);
            }
        }
        let age = |(host_group, at, time)| {
            let shards = shards.remove(&host_group)?;
            let age = self.inner.routes.groups.get(&host_group)?.health.since(at);
            Some(GroupAge { host_group, age, time, shards })
        };
        known.into_iter().filter_map(age).collect()
    }

    /// Waits for room: meanwhile the ring goes on, and the cursors find out.
    async fn send(&self, message: StreamMessage) -> Step {
        let bytes = bytes_of(&message).min(room(&self.inner));
        let send = async {
            // Never closed. A reader that goes away gives back the room of what it has not read.
            let _room = Arc::clone(&self.room).acquire_many_owned(bytes).await.ok();
            self.messages.send(Buffered { message: Ok(message), _room }).await.map_err(|_| Ended)
        };
        tokio::select! {
            biased;
            () = self.inner.stop_streams.cancelled() => Err(Ended),
            sent = send => sent,
        }
    }

    fn unlisten(&self, shard: ShardId) {
        if let Some(slot) = self.inner.shards.slot(shard) {
            slot.unlisten(&self.wake);
        }
    }
}

/// Waits for the shard's log, not for ever: the subscriber asks again.
async fn await_open(inner: &Inner, shard: ShardId) -> Result<()> {
    let slot = inner.slot(shard)?;
    let patience = inner.options.stream.open;
    timeout(patience, slot.opened()).await.map_err(|_| {
        Error::unavailable(format!(
            "leader {} does not follow the log of shard {shard} yet",
            inner.routes.name
        ))
    })
}

/// Bytes that may wait for one reader.
fn room(inner: &Inner) -> u32 {
    /// As many as a semaphore takes on any platform.
    const MOST: usize = 1 << 28;
    u32::try_from(inner.options.stream.buffer_bytes.clamp(1, MOST)).unwrap_or(u32::MAX)
}

/// Bytes that a message takes, nearly.
fn bytes_of(message: &StreamMessage) -> u32 {
    let bytes = match message {
        StreamMessage::Change(change) => weight(change),
        StreamMessage::Heartbeat { positions, ages, .. } => {
            size_of_val(positions.as_slice())
                + ages.iter().map(|age| size_of_val(age.shards.as_slice())).sum::<usize>()
        }
        StreamMessage::Subscribed { .. }
        | StreamMessage::Epoch { .. }
        | StreamMessage::Reset { .. }
        | StreamMessage::Refused { .. } => size_of::<StreamMessage>(),
    };
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        for shard in self.cursors.keys() {
            self.unlisten(*shard);
        }
        self.inner.metrics.streams.dec();
    }
}
