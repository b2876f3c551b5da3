//! What sessions demand and note, on the wire to nodes in memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tao_schema::ids::{Epoch, HostGroupId, ObjectId, Position, PrimaryTime, Seq, ShardId};
use tao_schema::ops::{Demand, Freshness, ReadRequest};
use tao_schema::session::{Folding, Session};
use tao_schema::wire::proto;
use tao_schema::wire::proto::reply::Result as Reply;
use tao_schema::{Error, ErrorCode};

use super::*;
use crate::testing::{FakeCluster, Graph, Reaction};

const SHARD: ShardId = ShardId(7);
const ID: ObjectId = ObjectId::new(SHARD, 1);

fn at(epoch: u32, seq: u64) -> Position {
    Position { shard: SHARD, epoch: Epoch(epoch), seq: Seq(seq) }
}

fn read_reply(position: Position, time_ms: Option<u64>) -> Reply {
    Reply::Read(proto::ReadReply {
        position: Some(position.into()),
        result: Some(proto::read_reply::Result::Object(proto::ObjectResult::default())),
        time_ms,
        explain: None,
    })
}

fn write_reply(position: Position, time_ms: Option<u64>) -> Reply {
    Reply::Write(proto::WriteReply {
        position: vec![position.into()],
        outcome: vec![proto::WriteOutcome { effect: proto::Effect::Deleted.into(), id: ID.0 }],
        time_ms,
        ..Default::default()
    })
}

/// A node that gives the answers of a script, one after the other.
struct Script {
    cluster: FakeCluster,
    replies: Arc<Mutex<VecDeque<Reply>>>,
}

impl Script {
    fn new() -> Self {
        let replies = Arc::<Mutex<VecDeque<Reply>>>::default();
        let next = Arc::clone(&replies);
        let cluster = FakeCluster::new(1, move |_, _| {
            next.lock().pop_front().map_or_else(|| Reaction::error(ErrorCode::Internal), Reaction::Reply)
        });
        Self { cluster, replies }
    }

    fn then(&self, reply: Reply) -> &Self {
        self.replies.lock().push_back(reply);
        self
    }

    /// What the latest read demanded.
    fn demanded(&self) -> Demand {
        let requests = self.cluster.followers[0].requests();
        let read = requests.into_iter().rev().find_map(|request| match request.op {
            Some(proto::request::Op::Read(read)) => Some(read),
            _ => None,
        });
        ReadRequest::try_from(read.unwrap()).unwrap().demand
    }
}

#[tokio::test(start_paused = true)]
async fn older_epochs_are_named_until_an_answer_proves_them() {
    let script = Script::new();
    let session = script.cluster.client().await.unwrap().session();
    script.then(read_reply(at(1, 5), None)).then(read_reply(at(2, 9), None));
    session.object_get(ID).send().await.unwrap();
    session.object_get(ID).send().await.unwrap();
    assert_eq!(script.demanded(), Demand::at_least(at(1, 5)));
    assert_eq!(session.seen().positions().collect::<Vec<_>>(), [at(2, 9)], "proved by its answer");

    // A friend's session saw something in the old epoch: H19 if the newer position stood for it.
    let mut friend = Session::new();
    friend.observe(at(1, 8));
    session.merge(&friend);
    script.then(write_reply(at(2, 10), None)).then(read_reply(at(2, 11), None));
    session.object_delete(ID).send().await.unwrap();
    assert_eq!(session.seen().len(), 2, "a write proves nothing");
    session.object_get(ID).at_least(at(2, 3)).send().await.unwrap();
    let demanded = script.demanded();
    assert_eq!((demanded.at_least, demanded.lineage), (Some(at(2, 10)), vec![at(1, 8)]));
    assert_eq!(session.seen().positions().collect::<Vec<_>>(), [at(2, 11)]);
}

#[tokio::test(start_paused = true)]
async fn times_of_replies_belong_to_the_group_that_the_topology_names() {
    let script = Script::new();
    let session = script.cluster.client().await.unwrap().session();
    let floor = |session: &SessionClient| {
        let mut seen = session.seen();
        let folding = Folding { loss_window: Duration::ZERO, slack: Duration::ZERO };
        let _ = seen.shrink(0, &folding, wall_clock());
        seen.floor(HostGroupId(1))
    };
    script.then(read_reply(at(2, 9), Some(7_000)));
    session.object_get(ID).send().await.unwrap();
    assert_eq!(floor(&session), None, "epoch 2 is not in the topology: whose clock was it?");
    script.then(write_reply(at(1, 5), Some(5_000)));
    session.object_delete(ID).send().await.unwrap();
    assert_eq!(floor(&session), Some(PrimaryTime(5_000)));
}

#[tokio::test(start_paused = true)]
async fn consistency_is_chosen_by_call_else_by_session() {
    let graph = Graph::demo();
    let script =
        Script { cluster: FakeCluster::new(1, move |_, r| graph.answer(r)), replies: Arc::default() };
    let client = script.cluster.client().await.unwrap();
    let second = Duration::from_secs(1);
    let of_call = [
        (Consistency::Local, Demand::local()),
        (Consistency::AtLeast(at(1, 0)), Demand::at_least(at(1, 0))),
        (Consistency::Bounded(second), Demand { freshness: Freshness::Within(second), ..Demand::local() }),
        (Consistency::Critical, Demand { freshness: Freshness::Critical, ..Demand::local() }),
        (Consistency::Master, Demand { freshness: Freshness::Master, ..Demand::local() }),
    ];
    for (consistency, demand) in &of_call {
        client.object_get(ID).consistency(*consistency).send().await.unwrap();
        assert_eq!(script.demanded(), *demand);
    }
    let options = SessionOptions { consistency: Consistency::Bounded(second), ..SessionOptions::default() };
    let session = client.session_with(options).unwrap();
    session.object_get(ID).send().await.unwrap();
    assert_eq!(script.demanded().freshness, Freshness::Within(second));
    session.object_get(ID).consistency(Consistency::Local).send().await.unwrap();
    assert_eq!(script.demanded(), Demand::at_least(at(1, 0)), "what it has seen, in any case");
    for wrong in [
        SessionOptions { consistency: Consistency::AtLeast(at(1, 1)), ..SessionOptions::default() },
        SessionOptions { stick_to_master: Some(MAX_STICK + second), ..SessionOptions::default() },
    ] {
        assert_eq!(client.session_with(wrong).unwrap_err().code, ErrorCode::InvalidArgument);
    }
}

#[tokio::test(start_paused = true)]
async fn the_classic_policy_binds_reads_to_the_master_region_after_a_write() {
    let script = Script::new();
    let client = script.cluster.client().await.unwrap();
    let stick_to_master = Some(Duration::from_secs(20));
    let session =
        client.session_with(SessionOptions { stick_to_master, ..SessionOptions::default() }).unwrap();
    let freshness = async |consistency| {
        script.then(read_reply(at(1, 5), None));
        session.object_get(ID).consistency(consistency).send().await.unwrap();
        script.demanded().freshness
    };
    assert_eq!(freshness(Consistency::Local).await, Freshness::Any);
    script.then(write_reply(at(1, 5), None));
    session.object_delete(ID).send().await.unwrap();
    assert_eq!(freshness(Consistency::Local).await, Freshness::Master);
    let bounded = Consistency::Bounded(Duration::from_secs(1));
    assert_eq!(freshness(bounded).await, Freshness::Critical, "what satisfies both");
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(freshness(Consistency::Local).await, Freshness::Any);

    // A write that was refused changes nothing; one that may have happened counts.
    for (code, expected) in
        [(ErrorCode::NotFound, Freshness::Any), (ErrorCode::RetryTooLate, Freshness::Master)]
    {
        script.then(Reply::Error(Error::new(code, "told to fail").into()));
        session.object_delete(ID).send().await.unwrap_err();
        assert_eq!(freshness(Consistency::Local).await, expected, "{code}");
    }
    session.stick_to_master(Duration::MAX);
    assert_eq!(session.master_left(), Some(MAX_STICK));
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_told_until_the_application_forgets() {
    let script = Script::new();
    let client = script.cluster.client().await.unwrap();
    let session = client.session();
    let lost = || Reply::Error(Error::new(ErrorCode::LostEpoch, "epoch 1 ended at 4").into());
    script.then(write_reply(at(1, 5), None)).then(lost()).then(lost()).then(read_reply(at(2, 4), None));
    session.object_delete(ID).send().await.unwrap();
    for _ in 0..2 {
        let error = session.object_get(ID).send().await.unwrap_err();
        assert_eq!(error.code, ErrorCode::LostEpoch);
        assert!(error.message.contains("shard 7") && error.message.contains("forget"), "{error}");
        assert_eq!(script.demanded().at_least, Some(at(1, 5)));
    }
    assert_eq!(session.forget_lost(), [SHARD]);
    session.object_get(ID).send().await.unwrap();
    assert_eq!(script.demanded(), Demand::local());
    assert_eq!(session.forget_lost(), []);
    // A token of the call is not the session's.
    script.then(lost());
    let other = client.session();
    other.object_get(ID).at_least(at(1, 5)).send().await.unwrap_err();
    assert_eq!(other.forget_lost(), []);
}
