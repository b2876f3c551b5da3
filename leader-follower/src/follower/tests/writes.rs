use tao_schema::ErrorCode;
use tao_schema::ids::RequestId;
use tao_schema::ops::{Effect, Outcome, WriteOp, WriteReply};

use super::*;

fn update(local: u64, text: &str) -> WriteRequest {
    let op = WriteOp::ObjectUpdate {
        id: id(local),
        otype: ObjectType(1),
        set: row(0, text).fields,
        clear: Vec::new(),
        expected: None,
    };
    WriteRequest { id: RequestId(7), age: Duration::from_millis(5), ops: vec![op], forwarded: false }
}

fn answer(local: u64, seq: u64, changes: Vec<Arc<ShardChange>>) -> WriteAnswer {
    let outcome = Outcome { effect: Effect::Updated, id: Some(id(local)) };
    let replayed = changes.is_empty();
    let reply = WriteReply {
        positions: vec![at(seq)],
        outcomes: vec![outcome],
        inverse_pending: false,
        replayed,
        time: None,
    };
    WriteAnswer { reply, changes }
}

impl Fixture {
    fn spawn_write(&self, request: WriteRequest) -> JoinHandle<Result<WriteReply>> {
        let (follower, deadline) = (self.follower.clone(), Instant::now() + Duration::from_secs(30));
        tokio::spawn(async move { follower.write(request, deadline).await })
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_is_read_back_before_the_stream_brings_it() {
    let mut f = fixture();
    let stream = f.live_at(10).await;
    f.fill(1, 10, Some(row(4, "old"))).await;
    let write = f.spawn_write(update(1, "new"));
    let (request, reply) = next(&mut f.leaders[0].writes).await;
    assert_eq!(request.id, RequestId(7));
    reply.send(Ok(answer(1, 11, vec![Arc::new(change(11, 1, Some("new")))]))).unwrap();
    write.await.unwrap().unwrap();
    assert_eq!(f.memory(1), Some((Some(11), 11)), "R18a");

    // H17: evicted, the promise stays: the next fill asks for it, and less is no answer.
    f.evict(1);
    assert_eq!(f.memory(1), None);
    let read = f.spawn_read(get(1));
    let asked = f.leaders[0].answer_fill(11, Some(row(11, "new"))).await;
    assert_eq!(asked.at_least, Some(at(11)));
    assert_eq!(shown(&read.await.unwrap().unwrap()), (Some(11), 11));
    stream.change(11, 1, Some("new"));
    settle().await;
    assert_eq!(f.memory(1), Some((Some(11), 11)));
}

#[tokio::test(start_paused = true)]
async fn a_replayed_write_leaves_a_floor() {
    let mut f = fixture();
    let _stream = f.live_at(10).await;
    f.fill(1, 10, Some(row(4, "old"))).await;
    let before = f.follower.metrics().floors_raised.get();
    let write = f.spawn_write(update(1, "new"));
    let (_, reply) = next(&mut f.leaders[0].writes).await;
    reply.send(Ok(answer(1, 12, Vec::new()))).unwrap();
    assert!(write.await.unwrap().unwrap().replayed);
    assert_eq!(f.memory(1), None, "the entry is older than what was written");
    let read = f.spawn_read(get(1));
    assert_eq!(f.leaders[0].answer_fill(12, Some(row(12, "new"))).await.at_least, Some(at(12)));
    assert_eq!(shown(&read.await.unwrap().unwrap()), (Some(12), 12));
    assert_eq!(f.follower.metrics().floors_raised.get(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn an_operation_without_a_part_in_the_change_leaves_a_floor_too() {
    let mut f = fixture();
    let _stream = f.live_at(10).await;
    f.fill(1, 10, Some(row(4, "old"))).await;
    f.fill(2, 10, Some(row(4, "deleted elsewhere meanwhile"))).await;
    let mut request = update(1, "new");
    request.ops.push(WriteOp::ObjectDelete { id: id(2), expected: None });
    let write = f.spawn_write(request);
    let (_, reply) = next(&mut f.leaders[0].writes).await;
    let mut answered = answer(1, 12, vec![Arc::new(change(12, 1, Some("new")))]);
    answered.reply.outcomes.push(Outcome { effect: Effect::Nothing, id: Some(id(2)) });
    reply.send(Ok(answered)).unwrap();
    write.await.unwrap().unwrap();
    assert_eq!(f.memory(1), Some((Some(12), 12)));
    assert_eq!(f.memory(2), None, "the writer was told that there is nothing to delete");
}

#[tokio::test(start_paused = true)]
async fn a_floor_from_before_the_first_subscription_outlives_it() {
    let mut f = fixture();
    // A write through a follower that has never heard of the shard, answered without its change.
    let write = f.spawn_write(update(1, "new"));
    let (_, reply) = next(&mut f.leaders[0].writes).await;
    reply.send(Ok(answer(1, 12, Vec::new()))).unwrap();
    write.await.unwrap().unwrap();
    // The leader that it subscribes to is not there yet (R15).
    let read = f.spawn_read(get(1));
    assert_eq!(f.leaders[0].answer_read(12).await.demand.at_least, Some(at(12)));
    let mut stream = f.leaders[0].accept().await;
    assert_eq!(stream.subscribed_from().await, None);
    stream.say(StreamMessage::Reset { position: at(10), history: Vec::new() });
    settle().await;
    read.await.unwrap().unwrap();
    let read = f.spawn_read(get(1));
    assert_eq!(f.leaders[0].answer_fill(12, Some(row(12, "new"))).await.at_least, Some(at(12)));
    assert_eq!(shown(&read.await.unwrap().unwrap()), (Some(12), 12));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_does_not_cancel_its_write() {
    let mut f = fixture();
    let _stream = f.live_at(10).await;
    f.fill(1, 10, Some(row(4, "old"))).await;
    let write = f.spawn_write(update(1, "new"));
    let (_, reply) = next(&mut f.leaders[0].writes).await;
    write.abort();
    settle().await;
    reply.send(Ok(answer(1, 11, vec![Arc::new(change(11, 1, Some("new")))]))).expect("the write goes on");
    settle().await;
    assert_eq!(f.memory(1), Some((Some(11), 11)));
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_leader_is_followed_by_the_next_with_an_honest_age() {
    let mut f = fixture();
    let write = f.spawn_write(update(1, "new"));
    let (first, reply) = next(&mut f.leaders[0].writes).await;
    tokio::time::sleep(Duration::from_millis(40)).await;
    reply.send(Err(Error::unavailable("no route"))).unwrap();
    let (second, reply) = next(&mut f.leaders[1].writes).await;
    assert_eq!((second.id, second.ops), (first.id, first.ops));
    assert_eq!(first.age, Duration::from_millis(5));
    assert!(second.age >= Duration::from_millis(45), "{:?}", second.age);
    reply.send(Ok(answer(1, 11, Vec::new()))).unwrap();
    assert!(write.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn once_unknown_a_failure_stays_unknown() {
    let mut f = fixture();
    let write = f.spawn_write(update(1, "new"));
    let (_, reply) = next(&mut f.leaders[0].writes).await;
    reply.send(Err(Error::new(ErrorCode::OutcomeUnknown, "the connection broke"))).unwrap();
    let (_, reply) = next(&mut f.leaders[1].writes).await;
    reply.send(Err(Error::new(ErrorCode::PreconditionFailed, "another version"))).unwrap();
    assert_eq!(write.await.unwrap().unwrap_err().code, ErrorCode::OutcomeUnknown);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_never_answers_leaves_the_outcome_unknown() {
    let mut f = fixture();
    let write = f.spawn_write(update(1, "new"));
    let (_, _unanswered) = next(&mut f.leaders[0].writes).await;
    assert_eq!(write.await.unwrap().unwrap_err().code, ErrorCode::OutcomeUnknown);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_nobody_orders_now_waits_for_a_newer_topology() {
    let mut f = fixture_with(patient());
    let write = f.spawn_write(update(1, "new"));
    let (first, reply) = next(&mut f.leaders[0].writes).await;
    reply.send(Err(Error::new(ErrorCode::NotOwner, "moved"))).unwrap();
    f.stale_topology.notified().await;
    let asked = Instant::now();
    f.cluster.store(Arc::new(Cluster::new(Arc::new(topology(2)))));
    let (again, reply) = next(&mut f.leaders[0].writes).await;
    assert!(asked.elapsed() < Duration::from_millis(10), "it goes on as soon as the topology is there");
    assert!(again.id == first.id && again.age >= first.age, "one request (R3)");
    // Nor does one refusal more end it; what is not known does, for only the caller can tell what that means (R4).
    reply.send(Err(Error::unavailable("the server is read-only"))).unwrap();
    let (_, reply) = next(&mut f.leaders[1].writes).await;
    reply.send(Err(Error::unavailable("the server is read-only"))).unwrap();
    for at in [0, 1] {
        let (_, reply) = next(&mut f.leaders[at].writes).await;
        reply.send(Err(Error::new(ErrorCode::OutcomeUnknown, "the connection broke"))).unwrap();
    }
    assert_eq!(write.await.unwrap().unwrap_err().code, ErrorCode::OutcomeUnknown);
}

#[tokio::test(start_paused = true)]
async fn patience_has_an_end_and_asks_a_few_times() {
    let mut f = fixture_with(patient());
    let (began, write) = (Instant::now(), f.spawn_write(update(1, "new")));
    let mut asked = 0;
    while !write.is_finished() {
        while let Ok((_, reply)) = f.leaders[0].writes.try_recv() {
            asked += 1;
            reply.send(Err(Error::new(ErrorCode::NotOwner, "moved"))).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(write.await.unwrap().unwrap_err().code, ErrorCode::NotOwner);
    assert!(began.elapsed() <= patient().patience, "{:?}", began.elapsed());
    assert!((3..=7).contains(&asked), "asked {asked} times");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_no_leader_could_do_makes_no_hop() {
    let mut f = fixture();
    let mut wrong = update(1, "new");
    wrong.ops.clear();
    assert_eq!(f.spawn_write(wrong).await.unwrap().unwrap_err().code, ErrorCode::InvalidArgument);
    let mut elsewhere = update(1, "new");
    if let WriteOp::ObjectUpdate { id, .. } = &mut elsewhere.ops[0] {
        *id = ObjectId::new(ShardId(16), 1);
    }
    assert_eq!(f.spawn_write(elsewhere).await.unwrap().unwrap_err().code, ErrorCode::NoSuchShard);
    assert!(f.leaders.iter_mut().all(|leader| leader.writes.try_recv().is_err()));
}
