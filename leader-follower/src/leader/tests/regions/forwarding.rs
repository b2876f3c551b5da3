//! Between regions: writes, floors, and what this region can't answer (R15, R18, R18a).

use super::*;

#[tokio::test(start_paused = true)]
async fn h17_a_write_in_another_region_is_read_back_at_once_however_late_replication_is() {
    let mut world = Regions::new(Duration::from_millis(100)).await;
    world.options.core.max_floors = 4;
    let (one, two) = (world.start("a-1").await, world.start("b-1").await);
    for n in 1..4 {
        assert_eq!(two.local(follows(n)).await, 0);
    }
    world.databases[1].stop_replication();
    // More than there may be floors: they become one, below which reads go up. None is lost.
    for n in 1..12 {
        let answer = two.write(follow(n, 50)).await.unwrap();
        assert_eq!(answer.reply.positions.len(), 1);
        assert_eq!(two.local(follows(n)).await, 1, "object {n} without a token");
        let token = Demand::at_least(answer.reply.positions[0]);
        assert_eq!(two.count(follows(n), token).await.0, 1);
    }
    let deleted = WriteOp::AssocDelete {
        edge: EdgeKey { id1: user(1), atype: FOLLOWS, id2: user(50) },
        expected: None,
    };
    two.write(deleted).await.unwrap();
    assert_eq!(two.local(follows(1)).await, 0);
    assert_eq!(two.forwarded("write"), 12);
    world.databases[1].start_replication().unwrap();
    until("caught up", async || two.seq() == one.seq()).await;
    let before = two.forwarded("fill") + two.forwarded("read");
    for n in 1..12 {
        assert_eq!(two.local(follows(n)).await, u64::from(n != 1));
    }
    assert_eq!(two.forwarded("fill") + two.forwarded("read"), before, "this region answers again");
}

#[tokio::test(start_paused = true)]
async fn h16_memory_that_hears_nothing_is_not_served_for_longer_than_its_age_allows() {
    let world = Regions::new(Duration::from_millis(20)).await;
    let (one, two) = (world.start("a-1").await, world.start("b-1").await);
    assert_eq!(two.local(follows(1)).await, 0);
    world.databases[1].stop_replication();
    one.write(follow(1, 2)).await.unwrap();
    pause(world.options.max_age.as_millis() as u64 + 500).await;
    let (count, path, _) = two.count(follows(1), Demand::local()).await;
    assert_eq!((count, path), (1, vec!["b-1".to_owned(), "a-1".to_owned()]));
    let key = FillKey::List { key: follows(1), edges: 10 };
    let fill = FillRequest { key, at_least: None, forwarded: false };
    assert_eq!(two.handle.fill(fill, soon()).await.unwrap().position.seq, Seq(1));
    // A leader that starts now has no age, and serves all the same.
    let three = world.start("b-2").await;
    assert_eq!((three.group().age, three.local(follows(1)).await), (None, 1));
    world.databases[1].start_replication().unwrap();
    until("young again", async || two.count(follows(1), Demand::local()).await.1.len() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_down_costs_neither_reads_nor_maintenance() {
    let world = Regions::new(Duration::from_millis(20)).await;
    let (one, two) = (world.start("a-1").await, world.start("b-1").await);
    assert_eq!(two.local(follows(1)).await, 0);
    two.stores[1].set_reachable(false);
    world.databases[1].break_tails();
    let (count, path, _) = two.count(follows(2), Demand::local()).await;
    assert_eq!((count, path), (0, vec!["b-1".to_owned()]), "its entry came from the master region");
    assert!(two.forwarded("fill") > 0);
    until("the primary's log", async || two.group().followed.as_deref() == Some("a")).await;
    one.write(follow(1, 2)).await.unwrap();
    until("told", async || two.seq() == Seq(1)).await;
    let (count, _, source) = two.count(follows(1), Demand::local()).await;
    assert_eq!((count, source, two.resets()), (1, Source::LeaderCache, 0));
    // It is down at a start, too: no reason not to start.
    let down = world.start_now("b-2");
    down.stores[1].set_reachable(false);
    assert_eq!(down.local(follows(1)).await, 1);
    // It comes back: home again, without a reset.
    two.stores[1].set_reachable(true);
    until("home", async || two.group().followed.as_deref() == Some("b")).await;
    one.write(follow(1, 3)).await.unwrap();
    until("told", async || two.local(follows(1)).await == 2).await;
    assert_eq!(two.resets(), 0);
}

#[tokio::test(start_paused = true)]
async fn h33_two_leaders_that_take_each_other_for_the_master_find_out_at_once() {
    let world = Regions::new(Duration::ZERO).await;
    let (one, two) = (world.start("a-1").await, world.start("b-1").await);
    world.clusters[0].store(Arc::new(topology(|topology| topology.host_groups[0].master = "b".to_owned())));
    let began = Instant::now();
    for leader in [&one, &two] {
        assert_eq!(leader.forwarded("write"), 0);
    }
    assert_code(one.write(follow(1, 2)).await, ErrorCode::NotOwner);
    assert_code(two.write(follow(1, 2)).await, ErrorCode::NotOwner);
    let critical = Demand { freshness: Freshness::Critical, ..Demand::local() };
    assert_code(one.read(ReadOp::AssocCount(follows(1)), critical).await, ErrorCode::NotOwner);
    assert_eq!((one.forwarded("write"), two.forwarded("write")), (1, 1), "each was sent on once");
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_forwarded_write_whose_fate_is_unknown_says_so_and_has_one_effect() {
    let world = Regions::new(Duration::from_millis(20)).await;
    let (one, second) = (world.start("a-1").await, world.start("a-2").await);
    let two = world.start("b-1").await;
    // The first leader's answer never comes; the second is asked with the same id, and finds the first outcome.
    let owner = if world.clusters[0].load().placement.owner(tao_schema::topology::TierRef::leaders(0), SHARD)
        == Some(0)
    {
        &one
    } else {
        &second
    };
    owner.stores[0].fail_next_commit(CommitFault::UncertainCommitted);
    let answer = two.write(follow(1, 2)).await.unwrap();
    assert!(answer.reply.replayed);
    assert_eq!(two.local(follows(1)).await, 1, "its floor stands in for the change");
    // Both are cut off after it was sent.
    let hold = world.databases[0].hold_commits();
    let impatient = Instant::now() + Duration::from_secs(1);
    let result = two.handle.write(request(follow(1, 3)), impatient).await;
    assert_code(result, ErrorCode::OutcomeUnknown);
    assert!(Instant::now() <= impatient, "the caller is told in time");
    drop(hold);
}

#[tokio::test(start_paused = true)]
async fn a_pair_written_in_another_region_is_read_back_there_from_both_ends() {
    let world = Regions::new(Duration::from_millis(40)).await;
    let (one, two) = (world.start("a-1").await, world.start("b-1").await);
    let (here, there) = (user(1), object(ShardId(1), 1));
    let answer = two.write(add(here, LIKES, there, 1)).await.unwrap();
    assert!(!answer.reply.inverse_pending);
    assert_eq!(answer.reply.positions.len(), 2);
    for leader in [&one, &two] {
        assert_eq!(leader.local(list(there, LIKED_BY)).await, 1);
        assert_eq!(leader.local(list(here, LIKES)).await, 1);
    }
}
