//! Leaders that the test plays: every call made to them is a message that it answers.

use async_trait::async_trait;
use futures_util::stream;

use super::*;
use crate::ports::SubscriptionControl;

/// A call that waits for the test's answer.
pub(super) type Asked<Q, A> = (Q, oneshot::Sender<Result<A>>);

/// The leader as the follower sees it.
pub(super) struct Peer {
    pub(super) name: String,
    pub(super) fills: mpsc::UnboundedSender<Asked<FillRequest, FillReply>>,
    pub(super) reads: mpsc::UnboundedSender<Asked<ReadRequest, ReadReply>>,
    pub(super) writes: mpsc::UnboundedSender<Asked<WriteRequest, WriteAnswer>>,
    pub(super) opens: mpsc::UnboundedSender<Asked<(), ChangeStream>>,
}

/// The leader as the test plays it.
pub(super) struct Leader {
    pub(super) name: String,
    pub(super) fills: mpsc::UnboundedReceiver<Asked<FillRequest, FillReply>>,
    pub(super) reads: mpsc::UnboundedReceiver<Asked<ReadRequest, ReadReply>>,
    pub(super) writes: mpsc::UnboundedReceiver<Asked<WriteRequest, WriteAnswer>>,
    pub(super) opens: mpsc::UnboundedReceiver<Asked<(), ChangeStream>>,
}

/// What a follower says on an open stream.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Said {
    Subscribe(Vec<SubscribeShard>),
    Unsubscribe(Vec<ShardId>),
    Probe(u64),
}

/// The leader's end of an open stream. Dropped, the stream ends.
pub(super) struct Stream {
    pub(super) messages: mpsc::UnboundedSender<Result<StreamMessage>>,
    pub(super) said: mpsc::UnboundedReceiver<Said>,
}

struct Control(mpsc::UnboundedSender<Said>);

pub(super) fn connect(name: &str) -> (Peer, Leader) {
    let (fills, fills_here) = mpsc::unbounded_channel();
    let (reads, reads_here) = mpsc::unbounded_channel();
    let (writes, writes_here) = mpsc::unbounded_channel();
    let (opens, opens_here) = mpsc::unbounded_channel();
    let peer = Peer { name: name.to_owned(), fills, reads, writes, opens };
    let name = name.to_owned();
    (peer, Leader { name, fills: fills_here, reads: reads_here, writes: writes_here, opens: opens_here })
}

async fn ask<Q, A>(calls: &mpsc::UnboundedSender<Asked<Q, A>>, question: Q) -> Result<A> {
    let (answer, answered) = oneshot::channel();
    let gone = || Error::unavailable("the leader is gone");
    calls.send((question, answer)).map_err(|_| gone())?;
    answered.await.unwrap_or_else(|_| Err(gone()))
}

#[async_trait]
impl LeaderPeer for Peer {
    fn name(&self) -> &str {
        &self.name
    }

    async fn read(&self, request: ReadRequest, _deadline: Instant) -> Result<ReadReply> {
        ask(&self.reads, request).await
    }

    async fn fill(&self, request: FillRequest, _deadline: Instant) -> Result<FillReply> {
        ask(&self.fills, request).await
    }

    async fn write(&self, request: WriteRequest, _deadline: Instant) -> Result<WriteAnswer> {
        ask(&self.writes, request).await
    }

    async fn apply_inverse(&self, _states: Vec<InverseState>, _deadline: Instant) -> Result<WriteAnswer> {
        Err(Error::internal("a follower applies no inverses"))
    }

    async fn changes(&self, _follower: &str) -> Result<ChangeStream> {
        ask(&self.opens, ()).await
    }
}

#[async_trait]
impl SubscriptionControl for Control {
    async fn subscribe(&self, shards: Vec<SubscribeShard>) -> Result<()> {
        self.0.send(Said::Subscribe(shards)).map_err(|_| Error::unavailable("the stream has ended"))
    }

    async fn probe(&self, number: u64) -> Result<()> {
        self.0.send(Said::Probe(number)).map_err(|_| Error::unavailable("the stream has ended"))
    }

    async fn unsubscribe(&self, shards: Vec<ShardId>) -> Result<()> {
        self.0.send(Said::Unsubscribe(shards)).map_err(|_| Error::unavailable("the stream has ended"))
    }
}

/// The next call; the test fails if none comes for a minute.
pub(super) async fn next<T>(calls: &mut mpsc::UnboundedReceiver<T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), calls.recv()).await.expect("no call came").unwrap()
}

impl Leader {
    pub(super) async fn accept(&mut self) -> Stream {
        let ((), answer) = next(&mut self.opens).await;
        let (messages, receiver) = mpsc::unbounded_channel();
        let (control, said) = mpsc::unbounded_channel();
        let messages_here = stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|message| (message, receiver))
        });
        let opened = ChangeStream { control: Arc::new(Control(control)), messages: Box::pin(messages_here) };
        assert!(answer.send(Ok(opened)).is_ok(), "the follower gave up opening");
        Stream { messages, said }
    }

    /// Answers the next read with an absent object at `seq`.
    pub(super) async fn answer_read(&mut self, seq: u64) -> ReadRequest {
        let (request, answer) = next(&mut self.reads).await;
        let reply = ReadReply { position: at(seq), answer: Answer::Object(None), explain: None, time: None };
        answer.send(Ok(reply)).unwrap();
        request
    }

    /// Answers the next fill with this object at `seq`.
    pub(super) async fn answer_fill(&mut self, seq: u64, row: Option<ObjectRow>) -> FillRequest {
        let (request, answer) = next(&mut self.fills).await;
        answer.send(Ok(filled(seq, row))).unwrap();
        request
    }
}

impl Stream {
    /// What the follower says next, probes aside; `None`: it closed the stream.
    pub(super) async fn heard(&mut self) -> Option<Said> {
        loop {
            match self.said.recv().await {
                Some(Said::Probe(_)) => {}
                said => return said,
            }
        }
    }

    pub(super) fn say(&self, message: StreamMessage) {
        self.messages.send(Ok(message)).unwrap();
    }

    pub(super) fn change(&self, seq: u64, local: u64, text: Option<&str>) {
        self.say(StreamMessage::Change(Arc::new(change(seq, local, text))));
    }

    /// The newest probe; waits for one if there is none. What else was said before it is gone.
    pub(super) async fn probed(&mut self) -> u64 {
        let mut newest = None;
        loop {
            match self.said.try_recv() {
                Ok(Said::Probe(number)) => newest = Some(number),
                Ok(_) => {}
                Err(_) => match newest {
                    Some(number) => return number,
                    None => {
                        let said = next(&mut self.said).await;
                        newest = if let Said::Probe(number) = said { Some(number) } else { None };
                    }
                },
            }
        }
    }

    /// Answers a probe: everything up to `position` was sent, and vouches for [`SHARD`].
    pub(super) fn answer(&self, probe: u64, position: Position, age: Duration, time: u64) {
        let time = PrimaryTime(time);
        let ages = vec![GroupAge { host_group: HostGroupId(1), age, time, shards: vec![SHARD] }];
        self.say(StreamMessage::Heartbeat { positions: vec![position], sent_unix_ms: 0, probe, ages });
    }

    /// Answers the next probe at once.
    pub(super) async fn vouch(&mut self, position: Position, age: Duration, time: u64) {
        let probe = self.probed().await;
        self.answer(probe, position, age, time);
        settle().await;
    }

    pub(super) fn heartbeat(&self, seq: u64) {
        self.say(StreamMessage::Heartbeat {
            positions: vec![at(seq)],
            sent_unix_ms: 0,
            probe: 0,
            ages: Vec::new(),
        });
    }

    /// The next subscription of [`SHARD`]; what it goes on from.
    pub(super) async fn subscribed_from(&mut self) -> Option<Seq> {
        loop {
            if let Said::Subscribe(shards) = next(&mut self.said).await {
                let found = shards.iter().find(|asked| asked.shard == SHARD).expect("only one shard is used");
                return found.from.map(|from| from.seq);
            }
        }
    }
}
