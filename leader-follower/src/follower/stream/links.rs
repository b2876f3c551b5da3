//! One change stream to one leader: opening it again and again, and telling it which shards are wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, Hash};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, AbortHandle, BoxStream};
use tao_schema::ids::ShardId;
use tao_schema::stream::{StreamMessage, SubscribeShard};
use tao_schema::{Error, Result};
use tokio::time::Instant;

use super::probes::Probes;
use crate::follower::leaders::Leader;
use crate::follower::options::FollowerOptions;
use crate::ports::{ChangeStream, SubscriptionControl};

/// Names one opening of one leader's stream. What an earlier opening said is void.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Opening(pub(super) u64);

/// The stream to one leader.
pub(super) struct Link {
    pub(super) leader: Arc<Leader>,
    pub(super) state: LinkState,
    /// Shards assigned to this leader.
    pub(super) shards: BTreeSet<ShardId>,
    /// Openings since the stream last said something; `None`: it was never opened, and needs no wait.
    attempt: Option<u32>,
    add: BTreeSet<ShardId>,
    remove: BTreeSet<ShardId>,
    /// One call to the control side at a time, so that a subscription never overtakes the end of the one before.
    control_busy: bool,
}

/// Where a [`Link`] stands.
pub(super) enum LinkState {
    /// Not wanted, or to be opened.
    Closed,
    /// Waiting for its turn, or connecting.
    Opening(Opening),
    /// Open.
    Open(OpenLink),
}

/// An open stream.
pub(super) struct OpenLink {
    pub(super) opening: Opening,
    /// When it last said something.
    pub(super) heard: Instant,
    pub(super) probes: Probes,
    control: Arc<dyn SubscriptionControl>,
    abort: AbortHandle,
}

/// What came in on a stream.
pub(super) struct Incoming {
    pub(super) leader: Arc<str>,
    pub(super) opening: Opening,
    /// `None`: the stream has ended.
    pub(super) message: Option<Result<StreamMessage>>,
}

/// The end of a call to a leader.
pub(super) enum Done {
    /// An opening ended.
    Opened(Arc<str>, Opening, Result<ChangeStream>),
    /// A call to the control side ended.
    Controlled(Arc<str>, Opening, Result<()>),
    /// A probe was sent, or could not be.
    Probed(Arc<str>, Opening, Result<()>),
}

impl Link {
    pub(super) fn new(leader: Arc<Leader>) -> Self {
        Self {
            leader,
            state: LinkState::Closed,
            shards: BTreeSet::new(),
            attempt: None,
            add: BTreeSet::new(),
            remove: BTreeSet::new(),
            control_busy: false,
        }
    }

    /// Assigns a shard, or asks for it anew.
    pub(super) fn subscribe(&mut self, shard: ShardId) {
        if !self.shards.insert(shard) {
            // The leader may still think that it is subscribed.
            self.remove.insert(shard);
        }
        self.add.insert(shard);
    }

    /// Takes a shard away.
    pub(super) fn unsubscribe(&mut self, shard: ShardId) {
        self.shards.remove(&shard);
        self.add.remove(&shard);
        self.remove.insert(shard);
    }

    /// The open stream, if it is this opening.
    pub(super) fn open(&mut self, opening: Opening) -> Option<&mut OpenLink> {
        match &mut self.state {
            LinkState::Open(open) if open.opening == opening => Some(open),
            _ => None,
        }
    }

    /// The stream said something: the next loss starts with short waits.
    pub(super) const fn heard(&mut self) {
        self.attempt = Some(0);
    }

    /// Forgets the stream; all shards that stay are to be asked for again on the next.
    pub(super) fn close(&mut self) -> bool {
        let was_open = match std::mem::replace(&mut self.state, LinkState::Closed) {
            LinkState::Open(open) => {
                open.abort.abort();
                true
            }
            LinkState::Closed | LinkState::Opening(_) => false,
        };
        self.control_busy = false;
        self.remove.clear();
        self.add.clone_from(&self.shards);
        was_open
    }

    /// Starts an opening, after a wait if it is not the first.
    pub(super) fn start(
        &mut self,
        opening: Opening,
        node: &str,
        options: &FollowerOptions,
    ) -> BoxFuture<'static, Done> {
        let wait = self.attempt.map_or(Duration::ZERO, |attempt| backoff(options, attempt, (node, opening)));
        self.attempt = Some(self.attempt.map_or(0, |attempt| attempt.saturating_add(1)));
        self.state = LinkState::Opening(opening);
        let (leader, node, limit) = (Arc::clone(&self.leader), node.to_owned(), options.connect_timeout);
        Box::pin(async move {
            tokio::time::sleep(wait).await;
            let result = match tokio::time::timeout(limit, leader.peer.changes(&node)).await {
                Ok(result) => result,
                Err(_) => Err(Error::unavailable(format!(
                    "leader {} did not open a change stream within {limit:?}",
                    leader.name
                ))),
            };
            Done::Opened(Arc::clone(&leader.name), opening, result)
        })
    }

    /// Takes the stream of an opening that succeeded.
    pub(super) fn opened(&mut self, opening: Opening, stream: ChangeStream) -> BoxStream<'static, Incoming> {
        let (messages, abort) = stream::abortable(stream.messages);
        let (heard, probes) = (Instant::now(), Probes::default());
        self.state = LinkState::Open(OpenLink { opening, heard, probes, control: stream.control, abort });
        let leader = Arc::clone(&self.leader.name);
        let end = Incoming { leader: Arc::clone(&leader), opening, message: None };
        let said =
            messages.map(move |item| Incoming { leader: Arc::clone(&leader), opening, message: Some(item) });
        Box::pin(said.chain(stream::iter([end])))
    }

    /// The next call to the control side, if there is something to say and no call is under way.
    pub(super) fn flush(
        &mut self,
        options: &FollowerOptions,
        from: impl Fn(ShardId) -> SubscribeShard,
    ) -> Option<BoxFuture<'static, Done>> {
        let LinkState::Open(open) = &self.state else { return None };
        if self.control_busy || (self.add.is_empty() && self.remove.is_empty()) {
            return None;
        }
        self.control_busy = true;
        let add: Vec<_> = std::mem::take(&mut self.add).into_iter().map(from).collect();
        let remove: Vec<_> = std::mem::take(&mut self.remove).into_iter().collect();
        let (control, opening) = (Arc::clone(&open.control), open.opening);
        let (leader, limit) = (Arc::clone(&self.leader.name), options.connect_timeout);
        Some(Box::pin(async move {
            let call = async {
                if !remove.is_empty() {
                    control.unsubscribe(remove).await?;
                }
                if add.is_empty() { Ok(()) } else { control.subscribe(add).await }
            };
            let late = || Error::unavailable(format!("leader {leader} took no subscriptions for {limit:?}"));
            let result = tokio::time::timeout(limit, call).await.unwrap_or_else(|_| Err(late()));
            Done::Controlled(leader, opening, result)
        }))
    }

    /// Asks how old the leader's knowledge is, if the stream is open, has shards, and is not just being asked. `now`, of
    /// the node's clock, is from before the question: the answer knows at least what the leader knew then (R20).
    pub(super) fn probe(
        &mut self,
        number: u64,
        now: Duration,
        options: &FollowerOptions,
    ) -> Option<BoxFuture<'static, Done>> {
        let LinkState::Open(open) = &mut self.state else { return None };
        if self.shards.is_empty() || !open.probes.ask(number, now) {
            return None;
        }
        let (control, opening) = (Arc::clone(&open.control), open.opening);
        let (leader, limit) = (Arc::clone(&self.leader.name), options.connect_timeout);
        Some(Box::pin(async move {
            let late = || Error::unavailable(format!("leader {leader} took no probe for {limit:?}"));
            let result =
                tokio::time::timeout(limit, control.probe(number)).await.unwrap_or_else(|_| Err(late()));
            Done::Probed(leader, opening, result)
        }))
    }

    /// The call to the control side is over.
    pub(super) const fn controlled(&mut self) {
        self.control_busy = false;
    }
}

/// All links, by the leader's name.
pub(super) type Links = BTreeMap<Arc<str>, Link>;

/// The wait before attempt `attempt` (from 0): doubling, and half of it spread by who waits, so that followers who lost
/// the same leader do not come back together. No dice: a simulation with the same seed waits as long.
pub(super) fn backoff(options: &FollowerOptions, attempt: u32, who: impl Hash) -> Duration {
    let full = options.backoff.saturating_mul(1 << attempt.min(16)).min(options.backoff_max);
    let spread = FixedState::default().hash_one((who, attempt)) >> 32;
    full.mul_f64(0.5 + 0.5 * spread as f64 / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_are_spread() {
        let options = FollowerOptions::default();
        for (attempt, full) in [(0, 50), (1, 100), (3, 400), (20, 5_000), (u32::MAX, 5_000)] {
            let waits: BTreeSet<u128> =
                (0..20).map(|who| backoff(&options, attempt, who).as_millis()).collect();
            assert!(
                waits.iter().all(|wait| (full / 2..=full).contains(wait)),
                "attempt {attempt}: {waits:?}"
            );
            assert!(waits.len() > 5, "attempt {attempt} is not spread: {waits:?}");
        }
    }
}
