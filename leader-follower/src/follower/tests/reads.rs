use tao_schema::ErrorCode;
use tao_schema::edges::PackedEdgesBuilder;
use tao_schema::ids::{AssocType, ListKey, Time};
use tao_schema::ops::FillKey;
use tao_schema::rows::ListRow;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_filled_object_is_a_hit_and_absence_is_one_too() {
    let mut f = fixture();
    let _stream = f.live_at(10).await;
    assert_eq!(shown(&f.fill(1, 10, Some(row(4, "a"))).await), (Some(4), 10));
    assert_eq!(shown(&f.fill(2, 10, None).await), (None, 10));
    assert_eq!(f.memory(1), Some((Some(4), 10)));
    assert_eq!(f.memory(2), Some((None, 10)));
    let metrics = f.follower.metrics();
    let of = |result| metrics.reads_of(&get(1).op, result);
    assert_eq!((of(ReadResult::Hit), of(ReadResult::Absent), of(ReadResult::NotContinuous)), (2, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn explain_names_the_path() {
    let mut f = fixture();
    let _stream = f.live_at(10).await;
    let leader = f.leaders[0].name.clone();
    let read = f.spawn_read(ReadRequest { explain: true, ..get(1) });
    f.leaders[0].answer_fill(10, None).await;
    let explain = read.await.unwrap().unwrap().explain.unwrap();
    assert_eq!((explain.source, explain.reason.as_str()), (Source::Database, "absent"));
    assert_eq!(explain.path, ["follower-1".to_owned(), leader]);
    let hit = f.follower.try_read(&ReadRequest { explain: true, ..get(1) }).unwrap().unwrap();
    let explain = hit.explain.unwrap();
    assert_eq!((explain.source, explain.path.len(), explain.reason.as_str()), (Source::FollowerCache, 1, ""));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_can_answer_is_refused_at_once() {
    let f = fixture();
    let unknown = ListKey { id1: id(1), atype: AssocType(9_999) };
    let count = |list| ReadRequest { op: ReadOp::AssocCount(list), ..get(1) };
    let error = f.follower.try_read(&count(unknown)).unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    let elsewhere = ReadRequest { op: ReadOp::ObjectGet(ObjectId::new(ShardId(16), 1)), ..get(1) };
    assert_eq!(f.follower.try_read(&elsewhere).unwrap().unwrap_err().code, ErrorCode::NoSuchShard);
    assert_eq!(f.follower.metrics().reads_of(&get(1).op, ReadResult::Refused), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_ahead_of_memory_goes_up() {
    let mut f = fixture();
    let _stream = f.live_at(10).await;
    f.fill(1, 10, Some(row(4, "old"))).await;
    assert!(f.follower.try_read(&get_at_least(1, 11)).is_none());
    let read = f.spawn_read(get_at_least(1, 11));
    let asked = f.leaders[0].answer_fill(11, Some(row(11, "new"))).await;
    assert_eq!(asked.at_least, Some(at(11)));
    assert_eq!(shown(&read.await.unwrap().unwrap()), (Some(11), 11));
    assert_eq!(f.memory(1), Some((Some(11), 11)), "stored with its own position (R12)");
}

#[tokio::test(start_paused = true)]
async fn misses_of_one_key_share_a_fill_that_satisfies_them() {
    let mut f = fixture();
    let _stream = f.live_at(10).await;
    let first = f.spawn_read(get(1));
    let (_, answer) = next(&mut f.leaders[0].fills).await;
    let (second, token) = (f.spawn_read(get(1)), f.spawn_read(get_at_least(1, 12)));
    settle().await;
    assert!(f.leaders[0].fills.try_recv().is_err(), "they wait");
    answer.send(Ok(filled(10, Some(row(4, "a"))))).unwrap();
    for read in [first, second] {
        assert_eq!(shown(&read.await.unwrap().unwrap()), (Some(4), 10));
    }
    // R18: the one whose token says 12 needs one more.
    let asked = f.leaders[0].answer_fill(12, Some(row(12, "b"))).await;
    assert_eq!(asked.at_least, Some(at(12)));
    assert_eq!(shown(&token.await.unwrap().unwrap()), (Some(12), 12));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_leaves_its_fill_to_the_waiters() {
    let mut f = fixture();
    let _stream = f.live_at(10).await;
    let first = f.spawn_read(get(1));
    let (_, unanswered) = next(&mut f.leaders[0].fills).await;
    let waiter = f.spawn_read(get(1));
    settle().await;
    first.abort();
    f.leaders[0].answer_fill(10, None).await;
    assert_eq!(shown(&waiter.await.unwrap().unwrap()), (None, 10));
    drop(unanswered);
}

#[tokio::test(start_paused = true)]
async fn a_slow_fill_does_not_undo_a_newer_change() {
    let mut f = fixture();
    let stream = f.live_at(10).await;
    // H13: a fill says "absent at 10", change 11 creates the object before the fill arrives.
    let read = f.spawn_read(get(1));
    let (_, answer) = next(&mut f.leaders[0].fills).await;
    stream.change(11, 1, Some("made"));
    settle().await;
    answer.send(Ok(filled(10, None))).unwrap();
    assert_eq!(shown(&read.await.unwrap().unwrap()), (Some(11), 11), "brought up by the ring (R12, H14)");
    assert_eq!(f.memory(1), Some((Some(11), 11)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_older_than_the_token_is_no_answer() {
    let mut f = fixture();
    let read = f.spawn_read(get_at_least(1, 12));
    assert_eq!(f.leaders[0].answer_read(11).await.demand.at_least, Some(at(12)));
    assert_eq!(read.await.unwrap().unwrap_err().code, ErrorCode::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_nobody_can_answer_now_waits_for_the_next_topology() {
    let mut f = fixture_with(patient());
    let stream = f.live_at(10).await;
    let read = f.spawn_read(get(1));
    for at in [0, 1] {
        let (_, answer) = next(&mut f.leaders[at].fills).await;
        answer.send(Err(Error::new(ErrorCode::NotOwner, "shard 3 is Fenced here"))).unwrap();
    }
    f.stale_topology.notified().await;
    let asked = Instant::now();
    f.cluster.store(Arc::new(Cluster::new(Arc::new(topology(2)))));
    let (_, answer) = next(&mut f.leaders[0].fills).await;
    assert!(asked.elapsed() < Duration::from_millis(10), "it goes on as soon as the topology is there");
    answer.send(Err(Error::unavailable("leader-9 did not answer in time"))).unwrap();
    let (_, answer) = next(&mut f.leaders[1].fills).await;
    answer.send(Err(Error::unavailable("leader-9 did not answer in time"))).unwrap();
    // Meanwhile the stream brings what is asked for.
    stream.change(11, 1, Some("made"));
    settle().await;
    f.leaders[0].answer_fill(11, Some(row(11, "made"))).await;
    assert_eq!(shown(&read.await.unwrap().unwrap()), (Some(11), 11));
}

#[tokio::test(start_paused = true)]
async fn a_read_waits_no_longer_than_its_deadline() {
    let f = fixture_with(patient());
    let (follower, limit) = (f.follower.clone(), Duration::from_millis(120));
    let began = Instant::now();
    let read = tokio::spawn(async move { follower.read(get(1), Instant::now() + limit).await });
    let mut leaders = f.leaders;
    while !read.is_finished() {
        for leader in &mut leaders {
            while let Ok((_, answer)) = leader.reads.try_recv() {
                answer.send(Err(Error::unavailable("nobody is there"))).unwrap();
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(
        read.await.unwrap().unwrap_err().code,
        ErrorCode::Unavailable,
        "what is wrong, not just that time is up"
    );
    assert!(began.elapsed() <= limit);
}

#[tokio::test(start_paused = true)]
async fn a_read_deeper_than_memory_fills_deeper() {
    let mut f = fixture_with(FollowerOptions { list_fill_edges: 2, ..ageless() });
    let _stream = f.live_at(10).await;
    let key = ListKey { id1: id(1), atype: AssocType(1) };
    let list = |held: u64| {
        let mut edges = PackedEdgesBuilder::with_capacity(held as usize);
        for n in 0..held {
            edges.push(id(100 - n), Time(1_000 - n as u32), &[]);
        }
        ListRow { count: 5, version: Seq(9), edges: edges.finish() }
    };
    let range = |limit| ReadRequest { op: ReadOp::AssocRange { list: key, pos: 0, limit }, ..get(1) };
    let mut read = f.spawn_read(range(2));
    for (wanted, held) in [(2, 2), (8, 5)] {
        let (request, answer) = next(&mut f.leaders[0].fills).await;
        assert_eq!(request.key, FillKey::List { key, edges: wanted });
        answer.send(Ok(FillReply { row: FillRow::List(list(held)), ..filled(10, None) })).unwrap();
        let reply = read.await.unwrap().unwrap();
        let Answer::Edges { edges, version } = reply.answer else { panic!("not edges") };
        assert_eq!((edges.count() as u64, version), (held, Seq(9)));
        read = f.spawn_read(range(5));
    }
    assert!(read.await.unwrap().is_ok(), "the third one is a hit");
}

#[tokio::test(start_paused = true)]
async fn a_list_too_large_for_a_fill_is_asked_for_once_and_then_the_leader_answers() {
    let mut f = fixture();
    let _stream = f.live_at(10).await;
    let key = ListKey { id1: id(1), atype: AssocType(1) };
    let list = |held: u64| {
        let mut edges = PackedEdgesBuilder::with_capacity(held as usize);
        (0..held).for_each(|n| edges.push(id(100 - n), Time(1_000 - n as u32), &[]));
        ListRow { count: 5, version: Seq(9), edges: edges.finish() }
    };
    let range = ReadRequest { op: ReadOp::AssocRange { list: key, pos: 0, limit: 5 }, ..get(1) };
    let read = f.spawn_read(range);
    // A prefix that stops at its limit of bytes is shorter than was asked for.
    let (_, answer) = next(&mut f.leaders[0].fills).await;
    answer.send(Ok(FillReply { row: FillRow::List(list(2)), ..filled(10, None) })).unwrap();
    let (_, answer) = next(&mut f.leaders[0].reads).await;
    let whole = Answer::Edges { edges: list(5).edges, version: Seq(9) };
    answer.send(Ok(ReadReply { position: at(10), answer: whole, explain: None, time: None })).unwrap();
    let Answer::Edges { edges, .. } = read.await.unwrap().unwrap().answer else { panic!("not edges") };
    assert_eq!(edges.count(), 5);
    assert!(f.leaders[0].fills.try_recv().is_err(), "asking again brings the same");
}

#[tokio::test(start_paused = true)]
async fn a_lost_token_is_its_holders_alone() {
    let mut f = fixture();
    let _stream = f.live_at(10).await;
    let lost = f.spawn_read(get_at_least(1, 50));
    let (_, answer) = next(&mut f.leaders[0].fills).await;
    let plain = f.spawn_read(get(1));
    settle().await;
    answer.send(Err(Error::new(ErrorCode::LostEpoch, "50 was lost"))).unwrap();
    assert_eq!(lost.await.unwrap().unwrap_err().code, ErrorCode::LostEpoch);
    assert_eq!(f.leaders[0].answer_fill(10, None).await.at_least, Some(at(10)), "the other asks for itself");
    assert_eq!(shown(&plain.await.unwrap().unwrap()), (None, 10));
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_epoch_goes_up_as_it_is() {
    let mut f = fixture();
    let _stream = f.live_at(10).await;
    // The floor, 10 in epoch 1, must not stand in for it: a leader that is still there has 10, and may have lost 5 (R19).
    let token = Position { epoch: Epoch(2), ..at(5) };
    let read = f.spawn_read(ReadRequest { demand: Demand::at_least(token), ..get(1) });
    let (asked, answer) = next(&mut f.leaders[0].reads).await;
    assert_eq!(asked.demand.at_least, Some(token));
    answer.send(Err(Error::new(ErrorCode::LostEpoch, "no"))).unwrap();
    assert_eq!(read.await.unwrap().unwrap_err().code, ErrorCode::LostEpoch);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_runs_out_of_time_says_so() {
    let f = fixture();
    let deadline = Instant::now() + Duration::from_millis(20);
    let error = f.follower.read(get(1), deadline).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::DeadlineExceeded);
}

#[tokio::test(start_paused = true)]
async fn too_many_reads_at_one_leader_are_refused() {
    let mut f = fixture_with(FollowerOptions { reads_per_leader: 1, ..ageless() });
    let first = f.spawn_read(get(1));
    settle().await;
    assert_eq!(f.spawn_read(get(2)).await.unwrap().unwrap_err().code, ErrorCode::Overloaded);
    f.leaders[0].answer_read(5).await;
    assert!(first.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_dump_shows_what_would_be_served_and_where_it_is_right() {
    let mut f = fixture();
    let stream = f.live_at(10).await;
    f.fill(1, 10, Some(row(4, "a"))).await;
    f.fill(2, 10, None).await;
    stream.change(11, 3, Some("c"));
    settle().await;
    let mut dump = f.follower.dump(SHARD);
    dump.sort_by_key(|cached| cached.key);
    let seen: Vec<_> =
        dump.iter().map(|cached| (cached.key, cached.position, cached.entry.version())).collect();
    assert_eq!(seen, [(Key::Object(id(1)), at(11), Seq(4)), (Key::Object(id(2)), at(11), Seq::ZERO)]);
    assert_eq!(f.follower.cache_stats().entries, 2);
    drop(stream);
    settle().await;
    assert!(f.follower.dump(SHARD).is_empty(), "not continuous: nothing would be served");
}
