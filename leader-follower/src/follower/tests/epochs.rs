//! Epochs on the stream, and positions of several of them (R15, R19, R24).

use tao_schema::ErrorCode;
use tao_schema::ids::RequestId;
use tao_schema::ops::{Effect, Outcome, WriteOp, WriteReply};

use super::*;
use crate::follower::Loss;

fn in_epoch(epoch: u32, seq: u64) -> Position {
    Position { epoch: Epoch(epoch), ..at(seq) }
}

const fn start(epoch: u32, first_seq: u64) -> EpochStart {
    EpochStart { epoch: Epoch(epoch), first_seq: Seq(first_seq) }
}

fn session(at_least: Position, lineage: &[Position]) -> ReadRequest {
    let demand = Demand { lineage: lineage.to_vec(), ..Demand::at_least(at_least) };
    ReadRequest { demand, ..get(1) }
}

fn fill_in(position: Position, row: Option<ObjectRow>) -> FillReply {
    FillReply { position, ..filled(position.seq.0, row) }
}

impl Stream {
    fn epoch(&self, epoch: u32, first_seq: u64) {
        self.say(StreamMessage::Epoch { shard: SHARD, start: start(epoch, first_seq) });
    }

    fn change_in(&self, epoch: u32, seq: u64, local: u64) {
        let change = ShardChange { epoch: Epoch(epoch), ..change(seq, local, Some("new")) };
        self.say(StreamMessage::Change(Arc::new(change)));
    }
}

impl Fixture {
    fn refused(&self, request: &ReadRequest) -> ErrorCode {
        self.follower.try_read(request).expect("answered here").unwrap_err().code
    }

    async fn fill_in(&mut self, position: Position, row: Option<ObjectRow>) {
        let read = self.spawn_read(get(1));
        let (_, answer) = next(&mut self.leaders[0].fills).await;
        answer.send(Ok(fill_in(position, row))).unwrap();
        read.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn h19_a_token_of_a_lost_write_is_told_so_however_far_the_log_has_come() {
    let mut f = fixture();
    let stream = f.live_in(in_epoch(3, 117), &[start(2, 50), start(3, 100)]).await;
    f.fill_in(in_epoch(3, 117), Some(row(4, "a"))).await;
    stream.epoch(4, 118);
    (118..=121).for_each(|seq| stream.change_in(4, seq, 9));
    settle().await;
    assert_eq!(f.memory(1), Some((Some(4), 121)), "R24: the epoch lost nothing that was here");
    // (3, 120) is lost, although the log has come to (4, 121): "satisfied" by its number alone.
    assert_eq!(f.refused(&session(in_epoch(3, 120), &[])), ErrorCode::LostEpoch);
    assert_eq!(f.refused(&session(in_epoch(4, 119), &[in_epoch(3, 120)])), ErrorCode::LostEpoch);
    assert_eq!(
        f.refused(&session(in_epoch(4, 119), &[in_epoch(3, 117), in_epoch(2, 100)])),
        ErrorCode::LostEpoch
    );
    let whole = session(in_epoch(4, 119), &[in_epoch(2, 99), in_epoch(3, 117)]);
    assert_eq!(f.rule(whole).unwrap(), "R21 AtLeast: watermark 121 >= 119; R19 lineage: 2 in epoch 4");
    assert_eq!(f.rule(session(in_epoch(3, 117), &[])).unwrap(), "R21 AtLeast: watermark 121 >= 117");
    // From before this node's history: only somebody further up can tell.
    let read = f.spawn_read(session(in_epoch(4, 119), &[in_epoch(1, 60)]));
    let (asked, answer) = next(&mut f.leaders[0].reads).await;
    assert_eq!(asked.demand.lineage, [in_epoch(1, 60)]);
    answer.send(Err(Error::new(ErrorCode::LostEpoch, "60 of epoch 1"))).unwrap();
    assert_eq!(read.await.unwrap().unwrap_err().code, ErrorCode::LostEpoch);
    assert_eq!(f.follower.metrics().stream_epochs.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn h19_a_late_fill_of_what_was_lost_is_not_believed() {
    let mut f = fixture();
    let stream = f.live_in(in_epoch(3, 117), &[start(3, 100)]).await;
    let read = f.spawn_read(get(1));
    let (_, answer) = next(&mut f.leaders[0].fills).await;
    stream.epoch(4, 118);
    settle().await;
    answer.send(Ok(fill_in(in_epoch(3, 120), Some(row(120, "phantom"))))).unwrap();
    let (asked, answer) = next(&mut f.leaders[0].reads).await;
    assert_eq!(asked.demand.at_least, Some(in_epoch(4, 117)));
    let reply =
        ReadReply { position: in_epoch(4, 118), answer: Answer::Object(None), explain: None, time: None };
    answer.send(Ok(reply)).unwrap();
    assert_eq!(shown(&read.await.unwrap().unwrap()), (None, 118));
    stream.change_in(4, 118, 1);
    settle().await;
    assert_eq!(f.memory(1), None, "nothing of the phantom stayed to be changed");
}

#[tokio::test(start_paused = true)]
async fn r24_what_was_known_beyond_the_end_of_an_epoch_is_dropped_and_the_stream_goes_on() {
    let mut f = fixture();
    let stream = f.live_in(in_epoch(3, 117), &[start(3, 100)]).await;
    f.fill_in(in_epoch(3, 117), Some(row(4, "a"))).await;
    stream.change_in(3, 118, 1);
    settle().await;
    assert_eq!(f.memory(1), Some((Some(118), 118)));
    stream.epoch(4, 118);
    settle().await;
    assert_eq!(f.memory(1), None, "118 of epoch 3 was lost with its primary");
    assert_eq!(f.refused(&session(in_epoch(3, 118), &[])), ErrorCode::LostEpoch);
    stream.change_in(4, 118, 2);
    settle().await;
    assert!(f.continuous());
    f.fill_in(in_epoch(4, 118), Some(row(4, "a"))).await;
    assert_eq!(f.memory(1), Some((Some(4), 118)));
    assert_eq!(f.follower.metrics().losses_of(Loss::Gap), 0);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_an_epoch_not_heard_of_asks_for_its_history_and_keeps_the_entries() {
    let mut f = fixture();
    let mut stream = f.live_at(10).await;
    f.fill(1, 10, Some(row(4, "a"))).await;
    stream.change_in(2, 11, 2);
    settle().await;
    assert_eq!(f.memory(1), None);
    assert_eq!(stream.subscribed_from().await, Some(Seq(10)), "it goes on from here");
    f.stale_topology.notified().await;
    stream.say(StreamMessage::Subscribed {
        position: in_epoch(2, 11),
        history: vec![start(1, 1), start(2, 11)],
    });
    stream.change_in(2, 11, 2);
    settle().await;
    assert_eq!(f.memory(1), Some((Some(4), 11)), "the epoch before ended at 10");
    assert_eq!(f.rule(session(at(10), &[])).unwrap(), "R21 AtLeast: watermark 11 >= 10");
}

#[tokio::test(start_paused = true)]
async fn h17_a_write_answered_in_an_epoch_not_heard_of_is_not_taken_back() {
    let mut f = fixture();
    let stream = f.live_at(10).await;
    f.fill(1, 10, Some(row(4, "old"))).await;
    stream.change(11, 2, Some("lost with the old primary"));
    settle().await;
    let op = WriteOp::ObjectDelete { id: id(1), expected: None };
    let write = WriteRequest { id: RequestId(7), age: Duration::ZERO, ops: vec![op], forwarded: false };
    let (follower, deadline) = (f.follower.clone(), Instant::now() + Duration::from_secs(30));
    let write = tokio::spawn(async move { follower.write(write, deadline).await });
    let (_, answer) = next(&mut f.leaders[0].writes).await;
    let reply = WriteReply {
        positions: vec![in_epoch(2, 11)],
        outcomes: vec![Outcome { effect: Effect::Deleted, id: Some(id(1)) }],
        inverse_pending: false,
        replayed: true,
        time: Some(PrimaryTime(5)),
    };
    answer.send(Ok(WriteAnswer { reply, changes: Vec::new() })).unwrap();
    assert_eq!(write.await.unwrap().unwrap().time, Some(PrimaryTime(5)));
    f.stale_topology.notified().await;
    // By its number alone the watermark, 11 in epoch 1, has it already.
    assert_eq!(f.memory(1), None, "R15");
    let read = f.spawn_read(get(1));
    let (asked, answer) = next(&mut f.leaders[0].fills).await;
    assert_eq!(asked.at_least, Some(in_epoch(2, 11)));
    answer.send(Ok(fill_in(at(11), Some(row(4, "old"))))).unwrap();
    let (asked, answer) = next(&mut f.leaders[0].reads).await;
    assert_eq!(asked.demand.at_least, Some(in_epoch(2, 11)));
    let reply = |position| ReadReply { position, answer: Answer::Object(None), explain: None, time: None };
    answer.send(Ok(reply(at(12)))).unwrap();
    let error = read.await.unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable, "12 of epoch 1 is not 11 of epoch 2: {error}");
    stream.epoch(2, 11);
    stream.change_in(2, 11, 3);
    settle().await;
    let read = f.spawn_read(get(1));
    let (asked, answer) = next(&mut f.leaders[0].fills).await;
    assert_eq!(asked.at_least, Some(in_epoch(2, 10)), "the stream has brought the write");
    answer.send(Ok(fill_in(in_epoch(2, 11), None))).unwrap();
    assert_eq!(shown(&read.await.unwrap().unwrap()), (None, 11));
}

#[tokio::test(start_paused = true)]
async fn h23_what_the_old_primary_vouched_for_ends_with_its_epoch() {
    let mut f = fixture_with(FollowerOptions::default());
    let mut stream = f.live_at(10).await;
    stream.vouch(at(10), Duration::ZERO, 1_000).await;
    f.fill(1, 10, Some(row(4, "a"))).await;
    assert_eq!(f.memory(1), Some((Some(4), 10)));
    stream.epoch(2, 11);
    settle().await;
    assert_eq!((f.age(), f.memory(1)), (None, None));
    let began = Instant::now();
    stream.vouch(in_epoch(2, 10), Duration::ZERO, 1_100).await;
    assert!(began.elapsed() < Duration::from_millis(10), "asked at once: {:?}", began.elapsed());
    assert_eq!(f.memory(1), Some((Some(4), 10)), "the entry was right all the time");
}

#[tokio::test(start_paused = true)]
async fn h25_a_failover_to_a_leader_that_is_behind_never_goes_back() {
    let mut f = fixture();
    let stream = f.live_at(10).await;
    f.fill(1, 10, Some(row(4, "a"))).await;
    stream.change(11, 1, Some("b"));
    stream.change(12, 2, Some("c"));
    settle().await;
    let seen = f.follower.try_read(&get(1)).unwrap().unwrap().position;
    assert_eq!(seen, at(12), "a read tells its position");
    drop(stream);
    for _ in 0..2 {
        let ((), answer) = next(&mut f.leaders[0].opens).await;
        answer.send(Err(Error::unavailable("no route"))).ok();
    }
    let mut second = f.leaders[1].accept().await;
    assert_eq!(second.subscribed_from().await, Some(Seq(12)));
    // Behind, and silent: it answers when it has come to 12. Without a token, too, this node does not go back.
    for (request, need) in [(get(1), 11), (session(seen, &[]), 12)] {
        let read = f.spawn_read(request.clone());
        assert_eq!(f.leaders[1].answer_read(10).await.demand.at_least, Some(at(need)));
        assert_eq!(read.await.unwrap().unwrap_err().code, ErrorCode::Unavailable);
        let read = f.spawn_read(request);
        f.leaders[1].answer_read(12).await;
        assert_eq!(read.await.unwrap().unwrap().position, at(12));
    }
}

#[tokio::test(start_paused = true)]
async fn h17_too_many_floors_become_one_below_which_reads_go_up() {
    let core = crate::core::CoreOptions { max_floors: 2, ..Default::default() };
    let mut f = fixture_with(FollowerOptions { core, ..ageless() });
    let stream = f.live_at(10).await;
    let slot = f.follower.shared.shards.get(SHARD).unwrap();
    for (local, seq) in [(1, 11), (2, 12), (3, 13)] {
        f.follower.shared.has_shown(slot, Key::Object(id(local)), at(seq));
    }
    assert_eq!(slot.core.with(|core| core.floors()), 0, "one too many: they became one");
    let read = f.spawn_read(get(1));
    for _ in 0..3 {
        assert_eq!(f.leaders[0].answer_fill(10, None).await.at_least, Some(at(13)));
    }
    assert_eq!(
        f.leaders[0].answer_read(13).await.demand.at_least,
        Some(at(13)),
        "then up, and no further fill"
    );
    assert_eq!(shown(&read.await.unwrap().unwrap()), (None, 13));
    (11..=13).for_each(|seq| stream.change(seq, 5, Some("x")));
    settle().await;
    let read = f.spawn_read(get(6));
    assert_eq!(f.leaders[0].answer_fill(13, None).await.at_least, Some(at(10)), "passed");
    read.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn h33_a_forged_token_fails_alone_and_leaves_nothing_behind() {
    let mut f = fixture();
    let _stream = f.live_at(10).await;
    let forged = f.spawn_read(get_at_least(1, 1 << 50));
    let (asked, answer) = next(&mut f.leaders[0].fills).await;
    assert_eq!(asked.at_least, Some(at(1 << 50)));
    let plain = f.spawn_read(get(1));
    settle().await;
    answer.send(Err(Error::unavailable("nobody has come so far"))).unwrap();
    let (_, answer) = next(&mut f.leaders[1].fills).await;
    answer.send(Err(Error::unavailable("nobody has come so far"))).unwrap();
    assert_eq!(forged.await.unwrap().unwrap_err().code, ErrorCode::Unavailable);
    assert_eq!(f.leaders[0].answer_fill(10, None).await.at_least, Some(at(10)), "asks for itself");
    assert_eq!(shown(&plain.await.unwrap().unwrap()), (None, 10));
    assert_eq!(f.memory(1), Some((None, 10)), "no floor was raised for it");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_newer_epoch_asks_for_the_topology_and_goes_up() {
    let mut f = fixture();
    let _stream = f.live_at(10).await;
    f.fill(1, 10, Some(row(4, "a"))).await;
    for request in [session(in_epoch(9, 5), &[]), session(at(5), &[in_epoch(9, 5)])] {
        let demand = request.demand.clone();
        let read = f.spawn_read(request);
        let (asked, answer) = next(&mut f.leaders[0].reads).await;
        assert_eq!(asked.demand.lineage, demand.lineage);
        f.stale_topology.notified().await;
        answer.send(Err(Error::new(ErrorCode::NotOwner, "epoch 9 is unknown here"))).unwrap();
        let (_, answer) = next(&mut f.leaders[1].reads).await;
        answer.send(Err(Error::new(ErrorCode::NotOwner, "epoch 9 is unknown here"))).unwrap();
        assert_eq!(read.await.unwrap().unwrap_err().code, ErrorCode::NotOwner);
    }
}
