//! The leader's side of change streams (R10, R16).
//!
//! Each subscriber has a task with a cursor for each of its shards. The core's ring is the queue: a commit only marks
//! the shard and wakes the task, which then reads the ring from its cursor. So nothing here can block a commit, and a
//! subscriber that is too slow finds its cursor below the ring and is told to reset.

mod cursor;
mod task;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{StreamExt as _, unfold};
use parking_lot::Mutex;
use tao_schema::ids::ShardId;
use tao_schema::stream::{StreamMessage, SubscribeShard};
use tao_schema::{Error, Result};
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};

use self::task::Subscriber;
use super::Inner;
use crate::ports::{ChangeStream, SubscriptionControl};

/// Bounds and times of change streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamOptions {
    /// Streams at the same time.
    pub streams: usize,
    /// Messages that wait for the reader of a stream.
    pub buffer: usize,
    /// Bytes of these messages, about; one that is larger waits alone. They may have left the ring, so that nothing else
    /// bounds them.
    pub buffer_bytes: usize,
    /// Requests of a subscriber that wait for its task.
    pub commands: usize,
    /// Between two heartbeats (R10).
    pub heartbeat: Duration,
    /// How long a subscriber's shard may wait for its log to be followed.
    pub open: Duration,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            streams: 1_024,
            buffer: 1_024,
            buffer_bytes: 4 << 20,
            commands: 64,
            heartbeat: Duration::from_millis(500),
            open: Duration::from_secs(2),
        }
    }
}

/// Which shards have news for one subscriber.
#[derive(Default)]
pub(super) struct Wake {
    shards: Mutex<HashSet<ShardId, foldhash::fast::RandomState>>,
    news: Notify,
}

impl Wake {
    pub(super) fn mark(&self, shard: ShardId) {
        if self.shards.lock().insert(shard) {
            self.news.notify_one();
        }
    }

    /// In order: what a subscriber hears does not depend on how a set is hashed.
    fn take(&self) -> Vec<ShardId> {
        let mut shards: Vec<ShardId> = self.shards.lock().drain().collect();
        shards.sort_unstable();
        shards
    }
}

/// What a subscriber asks of its task.
enum Command {
    Subscribe(Vec<SubscribeShard>),
    Unsubscribe(Vec<ShardId>),
    Probe(u64),
}

/// A message that waits for the reader, with the room that it takes.
struct Buffered {
    message: Result<StreamMessage>,
    _room: Option<OwnedSemaphorePermit>,
}

struct Control {
    commands: mpsc::Sender<Command>,
}

#[async_trait]
impl SubscriptionControl for Control {
    async fn subscribe(&self, shards: Vec<SubscribeShard>) -> Result<()> {
        self.commands.send(Command::Subscribe(shards)).await.map_err(|_| ended())
    }

    async fn probe(&self, number: u64) -> Result<()> {
        self.commands.send(Command::Probe(number)).await.map_err(|_| ended())
    }

    async fn unsubscribe(&self, shards: Vec<ShardId>) -> Result<()> {
        self.commands.send(Command::Unsubscribe(shards)).await.map_err(|_| ended())
    }
}

/// Opens a stream and starts its task.
pub(super) fn open(inner: &Arc<Inner>, follower: &str) -> Result<ChangeStream> {
    let options = inner.options.stream;
    if inner.metrics.streams.get() >= options.streams as i64 {
        let message = format!("{} change streams are open: that is the limit", options.streams);
        return Err(Error::new(tao_schema::ErrorCode::Overloaded, message));
    }
    let (commands, asked) = mpsc::channel(options.commands.max(1));
    let (messages, receiver) = mpsc::channel::<Buffered>(options.buffer.max(1));
    let task = Subscriber::new(Arc::clone(inner), follower.to_owned(), messages);
    inner.tasks.spawn(task.run(asked));
    let messages = unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|buffered| (buffered.message, receiver))
    });
    Ok(ChangeStream { control: Arc::new(Control { commands }), messages: messages.boxed() })
}

fn ended() -> Error {
    Error::unavailable("the change stream has ended")
}
