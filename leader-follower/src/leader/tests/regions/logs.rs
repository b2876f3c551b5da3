//! How the log is followed: what is not visible, missing, damaged, or of the wrong server.

use super::*;

#[tokio::test(start_paused = true)]
async fn h7_commits_of_both_leaders_of_a_region_come_in_the_order_of_the_log() {
    let world = Regions::new(Duration::ZERO).await;
    let (one, two) = (world.start("a-1").await, world.start("a-2").await);
    assert_eq!((one.local(follows(1)).await, one.local(follows(2)).await), (0, 0));
    for at in 0..20 {
        let writer = if at % 3 == 0 { &two } else { &one };
        writer.write(follow(1 + at % 2, 10 + at)).await.unwrap();
        pause(at % 4).await;
    }
    until("all", async || one.seq() == Seq(20) && two.seq() == Seq(20)).await;
    for leader in [&one, &two] {
        assert_eq!((leader.local(follows(1)).await, leader.local(follows(2)).await), (10, 10));
        assert_eq!(leader.resets(), 0, "nothing was given up");
    }
}

#[tokio::test(start_paused = true)]
async fn h8_a_commit_that_nobody_sees_yet_is_not_shown_and_ends_no_age() {
    let world = Regions::new(Duration::ZERO).await;
    let (one, two) = (world.start("a-1").await, world.start("a-2").await);
    assert_eq!(one.local(follows(1)).await, 0);
    let hold = world.databases[0].hold_commits();
    let write = tokio::spawn(async move { two.write(follow(1, 2)).await.map(|_| two) });
    pause(2_000).await;
    assert_eq!(one.handle.metrics().logs.held.get_or_create(&GroupLabel { host_group: 1 }).get(), 1);
    let (count, _, source) = one.count(follows(1), Demand::local()).await;
    assert_eq!((count, source), (0, Source::LeaderCache), "the log has it, the tables do not");
    let bounded = Demand { freshness: Freshness::Within(Duration::from_secs(1)), ..Demand::local() };
    let (count, _, source) = one.count(follows(1), bounded).await;
    assert_eq!((count, source), (0, Source::Database), "no heartbeat passes what is held");
    drop(hold);
    let two = write.await.unwrap().unwrap();
    until("both know it", async || one.local(follows(1)).await == 1 && two.local(follows(1)).await == 1)
        .await;

    // And one that is lost in a crash is never shown (H10: its seq is given again).
    let hold = world.databases[0].hold_commits();
    let lost = tokio::spawn(async move { (two.write(follow(1, 3)).await, two) });
    pause(100).await;
    world.databases[0].lose_held();
    drop(hold);
    let (result, two) = lost.await.unwrap();
    assert_code(result, ErrorCode::OutcomeUnknown);
    assert_eq!(one.local(follows(1)).await, 1);
    until("writable", async || two.write(follow(2, 9)).await.is_ok()).await;
    until("told", async || one.seq() == Seq(2)).await;
    assert_eq!((one.local(follows(1)).await, one.local(follows(2)).await), (1, 1));
}

/// The log of another server comes once more to what was held and dropped: else heartbeats behind it would prove an age
/// that leaves it out (found by a soak, seed 4).
#[tokio::test(start_paused = true)]
async fn h8_what_was_held_when_another_server_is_followed_is_brought_again() {
    let world = Regions::new(Duration::ZERO).await;
    let (one, two) = (world.start("a-1").await, world.start("b-1").await);
    assert_eq!(two.local(follows(1)).await, 0);
    world.databases[1].take_down();
    let followed =
        async |region| until(region, async || two.group().followed.as_deref() == Some(region)).await;
    followed("a").await;
    world.databases[1].bring_up();
    let hold = world.databases[0].hold_commits();
    let write = tokio::spawn(async move { (one.write(follow(1, 2)).await, one) });
    followed("b").await;
    drop(hold);
    // Its caller did not wait for so long; it is committed all the same.
    let (result, _one) = write.await.unwrap();
    assert_code(result, ErrorCode::OutcomeUnknown);
    let fresh = Demand { freshness: Freshness::Within(Duration::from_secs(1)), ..Demand::local() };
    pause(1_100).await;
    assert_eq!((two.count(follows(1), fresh).await.0, two.resets()), (1, 0));
}

/// A replica shows what its primary does not show yet: whoever saw it there is not told that it is lost.
#[tokio::test(start_paused = true)]
async fn h8_what_only_a_replica_shows_is_not_lost() {
    let world = Regions::new(Duration::from_millis(20)).await;
    let (one, two) = (world.start("a-1").await, world.start("b-1").await);
    one.write(follow(1, 2)).await.unwrap();
    let hold = world.databases[0].hold_commits();
    let write = tokio::spawn(async move { one.write(follow(1, 3)).await.map(|_| one) });
    until("the replica has it", async || two.seq() == Seq(2)).await;
    let seen = Demand { freshness: Freshness::Critical, ..Demand::at_least(two.position()) };
    assert_code(two.read(ReadOp::AssocCount(follows(1)), seen.clone()).await, ErrorCode::Unavailable);
    drop(hold);
    write.await.unwrap().unwrap();
    assert_eq!(two.count(follows(1), seen).await.0, 2);
}

#[tokio::test(start_paused = true)]
async fn h9_a_start_in_the_middle_of_a_commit_misses_nothing() {
    let world = Regions::new(Duration::ZERO).await;
    let one = world.start("a-1").await;
    let hold = world.databases[0].hold_commits();
    let write = tokio::spawn(async move { one.write(follow(1, 2)).await.unwrap() });
    pause(10).await;
    let two = world.start_now("a-2");
    pause(1_000).await;
    assert!(two.handle.status().shards.is_empty(), "no commit was acknowledged since (R7)");
    drop(hold);
    write.await.unwrap();
    two.serves().await;
    assert_eq!((two.local(follows(1)).await, two.seq()), (1, Seq(1)));

    // On a replica, whose log is ahead of its tables as well; and without the primary.
    let hold = world.databases[1].hold_commits();
    two.write(follow(1, 3)).await.unwrap();
    pause(50).await;
    world.databases[0].take_down();
    let replica = world.start_now("b-1");
    pause(1_000).await;
    drop(hold);
    replica.serves().await;
    until("the last one", async || replica.seq() == Seq(2)).await;
    assert_eq!(replica.group().age, None, "nobody vouches for its age");
}

#[tokio::test(start_paused = true)]
async fn h11_what_the_log_cannot_tell_is_an_alarm_and_all_shards_start_anew() {
    let world = Regions::new(Duration::ZERO).await;
    let (one, two) = (world.start("a-1").await, world.start("a-2").await);
    assert_eq!(one.local(follows(1)).await, 0);
    let mut stream = one.subscribe(None).await;
    assert!(matches!(news(&mut stream).await, StreamMessage::Reset { .. }));
    world.databases[0].damage_next("a statement where rows should be");
    two.write(follow(1, 2)).await.unwrap();
    until("an alarm", async || one.alarms("not_understood") == 1).await;
    one.serves().await;
    assert_eq!(one.local(follows(1)).await, 1, "not what was cached before");
    let StreamMessage::Reset { position, .. } = news(&mut stream).await else {
        panic!("subscribers hold what may be wrong, too")
    };
    assert_eq!(position.seq, Seq(1));
    one.write(follow(1, 3)).await.unwrap();
    assert!(matches!(news(&mut stream).await, StreamMessage::Change(change) if change.seq == Seq(2)));
}

#[tokio::test(start_paused = true)]
async fn h11_a_log_that_brings_nothing_is_found_out() {
    let world = Regions::new(Duration::ZERO).await;
    let (one, two) = (world.start("a-1").await, world.start("b-1").await);
    assert_eq!(two.local(follows(1)).await, 0);
    let blind = world.databases[1].hold_tails();
    one.write(follow(1, 2)).await.unwrap();
    pause(100).await;
    assert_eq!(two.local(follows(1)).await, 0, "as old as the limit allows");
    pause(11_000).await;
    let (count, path, _) = two.count(follows(1), Demand::local()).await;
    assert_eq!((count, path.len()), (1, 2), "too old for memory: from the master region");
    until("an alarm", async || two.alarms("blind") > 0).await;
    drop(blind);
    two.serves().await;
    until("in age again", async || two.group().age.is_some()).await;
    assert_eq!(two.local(follows(1)).await, 1);
}

#[tokio::test(start_paused = true)]
async fn h9_a_change_that_the_log_left_out_before_a_silence_is_found_by_the_audit() {
    let world = Regions::new(Duration::ZERO).await;
    let (one, two) = (world.start("a-1").await, world.start("a-2").await);
    assert_eq!(two.local(follows(1)).await, 0);
    world.databases[0].omit_next();
    one.write(follow(1, 2)).await.unwrap();
    pause(100).await;
    assert_eq!(two.local(follows(1)).await, 0, "no gap shows it, and heartbeats come");
    pause(11_000).await;
    assert_eq!((two.alarms("audit"), two.local(follows(1)).await), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn h22_a_server_that_has_what_the_primary_lacks_is_refused() {
    let world = Regions::new(Duration::ZERO).await;
    let (one, two) = (world.start("a-1").await, world.start("b-1").await);
    assert_eq!(two.local(follows(1)).await, 0);
    // Somebody writes on the replica.
    world.databases[1].set_read_only(false);
    let stray = MemoryStore::open(&world.databases[1]);
    assert!(stray.change_state(ShardId(3), Epoch(1), ShardState::Serving, ShardState::Fenced).await.unwrap());
    world.databases[1].set_read_only(true);
    until("refused", async || two.group().refused.is_some()).await;
    assert!(two.group().refused.unwrap().contains("memory-b-1"), "the transactions are named");
    assert_eq!(two.alarms("refused"), 1);
    // The primary's log in its place, and the primary's rows.
    two.serves().await;
    assert_eq!(two.group().followed.as_deref(), Some("a"));
    one.write(follow(1, 2)).await.unwrap();
    until("told", async || two.local(follows(1)).await == 1).await;
    let (_, path, source) = two.count(follows(7), Demand::local()).await;
    assert_eq!(source, Source::Database);
    assert_eq!(path, ["b-1"], "its entry came from the master region");
    assert!(two.forwarded("fill") > 0);
    // A leader that starts there refuses it as well.
    let three = world.start("b-2").await;
    assert!(three.group().refused.is_some() && three.group().followed.as_deref() == Some("a"));
}

#[tokio::test(start_paused = true)]
async fn h15_a_restarted_leader_and_a_standby_go_on_with_the_subscribers_of_another() {
    let world = Regions::new(Duration::ZERO).await;
    let one = world.start("a-1").await;
    for id2 in 2..7 {
        one.write(follow(1, id2)).await.unwrap();
    }
    let at = |seq| Position { shard: SHARD, epoch: Epoch(1), seq: Seq(seq) };
    one.handle.kill().await;
    // R17: its ring is full before it answers.
    let one = world.start("a-1").await;
    let two = world.start("a-2").await;
    for leader in [&one, &two] {
        let mut stream = leader.subscribe(Some(at(2))).await;
        let first = news(&mut stream).await;
        assert!(
            matches!(first, StreamMessage::Subscribed { position, .. } if position == at(5)),
            "{first:?}"
        );
        for seq in 3..=5 {
            assert!(
                matches!(news(&mut stream).await, StreamMessage::Change(change) if change.seq == Seq(seq))
            );
        }
    }
    // Both hear of a write of either, without a reset.
    let mut stream = two.subscribe(Some(at(5))).await;
    assert!(matches!(news(&mut stream).await, StreamMessage::Subscribed { .. }));
    one.write(follow(1, 9)).await.unwrap();
    assert!(matches!(news(&mut stream).await, StreamMessage::Change(change) if change.seq == Seq(6)));
    assert_eq!((one.resets(), two.resets()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_gone_on_with_and_nothing_is_dropped() {
    let world = Regions::new(Duration::from_millis(30)).await;
    let (one, two) = (world.start("a-1").await, world.start("b-1").await);
    assert_eq!(two.local(follows(1)).await, 0);
    for id2 in 2..6 {
        world.databases[1].break_tails();
        one.write(follow(1, id2)).await.unwrap();
        pause(700).await;
    }
    until("all", async || two.seq() == Seq(4)).await;
    let (count, _, source) = two.count(follows(1), Demand::local()).await;
    assert_eq!((count, source, two.resets()), (4, Source::LeaderCache, 0));
    // Purged behind it: every shard starts anew.
    let hold = world.databases[1].hold_tails();
    one.write(follow(1, 9)).await.unwrap();
    pause(200).await;
    world.databases[1].purge_log_before(&two.stores[1].executed().await.unwrap());
    drop(hold);
    until("anew", async || two.seq() == Seq(5)).await;
    assert_eq!(two.local(follows(1)).await, 5);
}
