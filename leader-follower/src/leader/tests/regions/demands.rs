//! What reads demand, and who may answer them (R19-R21).

use super::*;

fn within(millis: u64) -> Demand {
    Demand { freshness: Freshness::Within(Duration::from_millis(millis)), ..Demand::local() }
}

fn critical() -> Demand {
    Demand { freshness: Freshness::Critical, ..Demand::local() }
}

#[tokio::test(start_paused = true)]
async fn h20_critical_is_proved_by_the_shard_row_and_refused_where_that_is_fenced_or_old() {
    let world = Regions::new(Duration::from_secs(3)).await;
    let (one, two) = (world.start("a-1").await, world.start("b-1").await);
    one.write(follow(1, 2)).await.unwrap();
    assert_eq!(one.local(follows(1)).await, 1);
    let reply = one.read(ReadOp::AssocCount(follows(1)), critical()).await.unwrap();
    let explain = reply.explain.unwrap();
    assert_eq!(explain.source, Source::LeaderCache);
    assert_eq!(explain.rule, "R21 Critical: the shard row is serving at 0:1:1 after arrival");
    // From another region: up.
    let (count, path, _) = two.count(follows(1), critical()).await;
    assert_eq!((count, path), (1, vec!["b-1".to_owned(), "a-1".to_owned()]));
    // What memory has not got is read.
    assert_eq!(one.count(follows(2), critical()).await.2, Source::Database);

    let store = MemoryStore::open(&world.databases[0]);
    assert!(store.change_state(SHARD, Epoch(1), ShardState::Serving, ShardState::Fenced).await.unwrap());
    for list in [follows(1), follows(2), follows(3)] {
        let refused = one.read(ReadOp::AssocCount(list), critical()).await;
        assert_code(refused, ErrorCode::NotOwner);
    }
    assert!(store.change_state(SHARD, Epoch(1), ShardState::Fenced, ShardState::Serving).await.unwrap());
    assert_eq!(one.count(follows(1), critical()).await.0, 1);
    // The master has moved on, and this row has stayed behind.
    world.promoted("a", 2);
    assert_code(one.read(ReadOp::AssocCount(follows(1)), critical()).await, ErrorCode::NotOwner);
}

/// Another leader of the region commits, and the log has not told of it: what memory has is no proof (R21).
#[tokio::test(start_paused = true)]
async fn h8_critical_shows_what_the_log_has_not_told_yet() {
    let world = Regions::new(Duration::ZERO).await;
    let (one, two) = (world.start("a-1").await, world.start("a-2").await);
    assert_eq!(one.local(follows(1)).await, 0);
    let hold = world.databases[0].hold_tails();
    two.write(follow(1, 2)).await.unwrap();
    let (count, _, source) = one.count(follows(1), Demand::local()).await;
    assert_eq!((count, source), (0, Source::LeaderCache), "memory has not heard of it");
    let (count, _, source) = one.count(follows(1), critical()).await;
    assert_eq!((count, source), (1, Source::Database));
    drop(hold);
    until("told", async || one.seq() == Seq(1)).await;
    assert_eq!(one.count(follows(1), critical()).await.2, Source::LeaderCache);
}

#[tokio::test(start_paused = true)]
async fn h23_age_counts_time_that_the_machine_slept_and_a_fence_ends_it() {
    let world = Regions::new(Duration::ZERO).await;
    let one = world.start("a-1").await;
    assert_eq!(one.local(follows(1)).await, 0);
    until("an age", async || one.group().age.is_some()).await;
    assert_eq!(one.count(follows(1), within(1_000)).await.2, Source::LeaderCache);
    // Asleep for an hour; what was on its way arrives, and is as old as it is.
    *world.clock.ahead.lock() += Duration::from_secs(3_600);
    assert!(one.group().age.unwrap() > Duration::from_secs(3_000));
    assert_eq!(one.count(follows(1), within(1_000)).await.2, Source::Database);
    assert_eq!(one.count(follows(1), Demand::local()).await.2, Source::Database, "max_age");
    pause(600).await;
    assert_eq!(one.count(follows(1), within(1_000)).await.2, Source::LeaderCache);

    let store = MemoryStore::open(&world.databases[0]);
    assert!(store.change_state(SHARD, Epoch(1), ShardState::Serving, ShardState::Fenced).await.unwrap());
    until("the fence", async || one.seq() == Seq(1)).await;
    assert_code(one.read(ReadOp::AssocCount(follows(1)), within(1_000)).await, ErrorCode::NotOwner);
    assert_eq!(one.local(follows(1)).await, 0, "who demands nothing is answered");
}

#[tokio::test(start_paused = true)]
async fn h23_streams_vouch_for_what_was_known_before_they_were_asked() {
    let world = Regions::new(Duration::from_millis(200)).await;
    let (_one, two) = (world.start("a-1").await, world.start("b-1").await);
    let mut stream = two.subscribe(None).await;
    assert!(matches!(news(&mut stream).await, StreamMessage::Reset { .. }));
    pause(3_000).await;
    let probe = async |stream: &mut ChangeStream, number| {
        stream.control.probe(number).await.unwrap();
        loop {
            match stream.messages.next().await.unwrap().unwrap() {
                StreamMessage::Heartbeat { probe, ages, .. } if probe == number => break ages,
                StreamMessage::Heartbeat { probe: 0, ages, .. } => assert!(ages.is_empty()),
                _ => {}
            }
        }
    };
    let ages = probe(&mut stream, 7).await;
    assert_eq!(ages.len(), 1);
    assert_eq!((ages[0].host_group, &*ages[0].shards), (GROUP, &[SHARD][..]));
    let age = ages[0].age;
    assert!(
        age >= Duration::from_millis(200) && age < Duration::from_millis(800),
        "replication's delay: {age:?}"
    );
    // Replication stops: the age grows by as much as time passes.
    world.databases[1].stop_replication();
    pause(5_000).await;
    let later = probe(&mut stream, 8).await[0].age;
    assert!(later >= age + Duration::from_millis(4_400), "{age:?}, then {later:?}");
    world.databases[1].start_replication().unwrap();
    let store = MemoryStore::open(&world.databases[0]);
    assert!(store.change_state(SHARD, Epoch(1), ShardState::Serving, ShardState::Fenced).await.unwrap());
    pause(3_000).await;
    assert_eq!(probe(&mut stream, 9).await, [], "nobody vouches for a fenced shard");
}

#[tokio::test(start_paused = true)]
async fn bounded_reads_and_time_floors_go_up_when_replication_is_late() {
    let world = Regions::new(Duration::from_millis(100)).await;
    let (one, two) = (world.start("a-1").await, world.start("b-1").await);
    assert_eq!(two.local(follows(1)).await, 0);
    pause(2_000).await;
    assert_eq!(two.count(follows(1), within(1_000)).await.1, ["b-1"], "young enough");
    world.databases[1].stop_replication();
    let written = one.write(follow(1, 2)).await.unwrap();
    let time = written.reply.time.expect("a leader that follows its log tells the time");
    pause(2_000).await;
    let (count, path, _) = two.count(follows(1), within(1_000)).await;
    assert_eq!((count, path.len()), (1, 2));
    assert_eq!(two.local(follows(1)).await, 0, "old, as it may be");
    // R19: what a session folded.
    let folded = Demand { not_before: Some(time), ..Demand::local() };
    let (count, path, _) = two.count(follows(1), folded.clone()).await;
    assert_eq!((count, path.len()), (1, 2));
    world.databases[1].start_replication().unwrap();
    until("told", async || two.count(follows(1), folded.clone()).await.1.len() == 1).await;
    assert_eq!(two.local(follows(1)).await, 1);
    // A time that never comes is answered by the master, from its rows: no stall.
    let forged = Demand { not_before: Some(PrimaryTime(u64::MAX)), ..Demand::local() };
    assert_eq!(two.count(follows(1), forged).await.2, Source::Database);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_reply_is_not_before_what_it_shows() {
    let world = Regions::new(Duration::from_millis(50)).await;
    let (one, two) = (world.start("a-1").await, world.start("b-1").await);
    pause(1_000).await;
    for id2 in 2..12 {
        let now = 1 << 40;
        let written = one.write(follow(1, id2)).await.unwrap().reply.time.unwrap();
        for leader in [&one, &two] {
            let token = Demand::at_least(one.position());
            let reply = leader.read(ReadOp::AssocCount(follows(1)), token).await.unwrap();
            let time = reply.time.expect("both follow their logs");
            assert!(time.0 >= now && time.0 + 1_000 > written.0, "{time} after {written}");
        }
        pause(130).await;
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_of_unknown_epochs_and_seqs_never_stall() {
    let world = Regions::new(Duration::from_millis(50)).await;
    let (one, two) = (world.start("a-1").await, world.start("b-1").await);
    one.write(follow(1, 2)).await.unwrap();
    let op = || ReadOp::AssocCount(follows(1));
    let began = Instant::now();
    for leader in [&one, &two] {
        let future = Position { shard: SHARD, epoch: Epoch(1), seq: Seq(99) };
        assert_code(leader.read(op(), Demand::at_least(future)).await, ErrorCode::Unavailable);
        let newer = Position { epoch: Epoch(7), ..future };
        assert_code(leader.read(op(), Demand::at_least(newer)).await, ErrorCode::NotOwner);
        let history = Demand { lineage: vec![newer], ..Demand::local() };
        assert_code(leader.read(op(), history).await, ErrorCode::NotOwner);
        let never = Position { epoch: Epoch(0), ..future };
        assert_code(leader.read(op(), Demand::at_least(never)).await, ErrorCode::LostEpoch);
    }
    assert!(began.elapsed() < Duration::from_secs(1));
}
