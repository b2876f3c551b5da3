//! The primary moves to another region (R19, R24).

use super::*;

/// What an administrator does, with what `b` has.
async fn promote_b(world: &Regions) {
    world.databases[1].forget_source();
    let epochs: Vec<_> = (0..SHARDS).map(|shard| (ShardId(shard), Epoch(1), Epoch(2))).collect();
    assert_eq!(world.databases[1].open_epochs(&epochs).await.unwrap(), usize::from(SHARDS));
    world.databases[1].promote();
}

#[tokio::test(start_paused = true)]
async fn h19_after_a_planned_promotion_caches_and_tokens_stay() {
    let world = Regions::new(Duration::from_millis(20)).await;
    let (one, two) = (world.start("a-1").await, world.start("b-1").await);
    let token = one.write(follow(1, 2)).await.unwrap().reply.positions[0];
    until("everywhere", async || two.seq() == Seq(1)).await;
    assert_eq!((one.local(follows(1)).await, two.local(follows(1)).await), (1, 1));
    let mut stream = one.subscribe(Some(token)).await;
    assert!(matches!(news(&mut stream).await, StreamMessage::Subscribed { .. }));

    world.databases[0].set_read_only(true);
    let all = MemoryStore::open(&world.databases[0]).executed().await.unwrap();
    world.databases[1].wait_executed(&all).await;
    promote_b(&world).await;
    world.databases[0].replicate(&world.databases[1], ReplicationOptions::default()).unwrap();
    world.promoted("b", 2);

    let StreamMessage::Epoch { shard, start } = news(&mut stream).await else { panic!("an epoch was due") };
    assert_eq!((shard, start.epoch, start.first_seq), (SHARD, Epoch(2), Seq(2)));
    // Roles have changed: the write goes the other way now, in the new epoch.
    let answer = one.write(follow(1, 3)).await.unwrap();
    assert_eq!(answer.reply.positions[0], Position { shard: SHARD, epoch: Epoch(2), seq: Seq(2) });
    assert!(matches!(news(&mut stream).await, StreamMessage::Change(change) if change.seq == Seq(2)));
    assert_eq!(one.forwarded("write"), 1);
    until("vouched for by the new primary", async || {
        let young = |leader: &Peer| leader.group().age.is_some_and(|age| age < Duration::from_millis(900));
        young(&one) && young(&two) && two.group().master && !one.group().master
    })
    .await;
    for leader in [&one, &two] {
        let (count, path, source) = leader.count(follows(1), Demand::at_least(token)).await;
        assert_eq!((count, path.len(), source), (2, 1, Source::LeaderCache), "nothing was dropped");
        let both = Demand { lineage: vec![token], ..Demand::at_least(answer.reply.positions[0]) };
        assert_eq!(leader.count(follows(1), both).await.0, 2);
        assert_eq!(leader.resets(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn h19_h22_a_lossy_promotion_ends_lost_tokens_and_the_old_primary_is_refused() {
    let world = Regions::new(Duration::from_millis(20)).await;
    let (one, two) = (world.start("a-1").await, world.start("b-1").await);
    let kept = one.write(follow(1, 2)).await.unwrap().reply.positions[0];
    until("everywhere", async || two.seq() == Seq(1)).await;
    world.databases[1].stop_replication();
    let lost = one.write(follow(1, 3)).await.unwrap().reply.positions[0];
    one.write(follow(2, 3)).await.unwrap();
    // A floor of a forwarded write that the promotion loses must not make its key unreadable for ever.
    two.write(follow(5, 3)).await.unwrap();
    assert_eq!(one.local(follows(1)).await, 2);
    world.databases[0].take_down();
    promote_b(&world).await;
    world.promoted("b", 2);

    until("in the new epoch", async || two.position().epoch == Epoch(2)).await;
    let new = two.write(follow(1, 9)).await.unwrap().reply.positions[0];
    assert_eq!(new, Position { epoch: Epoch(2), ..lost }, "the lost seq is used again");
    let op = || ReadOp::AssocCount(follows(1));
    assert_code(two.read(op(), Demand::at_least(lost)).await, ErrorCode::LostEpoch);
    let history = Demand { lineage: vec![lost], ..Demand::at_least(new) };
    assert_code(two.read(op(), history).await, ErrorCode::LostEpoch);
    assert_eq!(two.count(follows(1), Demand::at_least(kept)).await.0, 2);
    assert_eq!(two.local(follows(5)).await, 0);

    // A leader whose own log has what is lost asks for no more than the reader needs.
    let key = FillKey::List { key: follows(2), edges: 0 };
    let fill = async |token| {
        let request = FillRequest { key, at_least: Some(token), forwarded: false };
        one.handle.fill(request, Instant::now() + Duration::from_secs(2)).await
    };
    assert_eq!(fill(kept).await.unwrap().position.epoch, Epoch(2));
    assert_code(fill(lost).await, ErrorCode::LostEpoch);

    // The old primary comes back, with what nobody else has.
    world.databases[0].set_read_only(true);
    world.databases[0].bring_up();
    until("refused", async || one.group().refused.is_some()).await;
    until("the new primary's log", async || one.group().followed.as_deref() == Some("b")).await;
    one.serves().await;
    until("flushed", async || one.position().epoch == Epoch(2)).await;
    assert_eq!((one.local(follows(1)).await, one.local(follows(2)).await), (2, 0), "no phantom is served");
    assert_code(one.read(op(), Demand::at_least(lost)).await, ErrorCode::LostEpoch);
    assert_eq!(one.count(follows(1), Demand::at_least(new)).await.0, 2);
}

/// What the old primary proved says nothing of what is committed at the new one.
#[tokio::test(start_paused = true)]
async fn h20_an_age_ends_with_its_epoch() {
    let world = Regions::new(Duration::ZERO).await;
    let two = world.start("b-1").await;
    until("vouched for", async || two.group().age.is_some()).await;
    // Nobody beats any more: this leader has not heard who the new primary is.
    world.databases[0].take_down();
    promote_b(&world).await;
    until("in the new epoch", async || two.position().epoch == Epoch(2)).await;
    assert_eq!(two.group().age, None);
    world.promoted("b", 2);
    until("vouched for by the new primary", async || two.group().age.is_some()).await;
}

/// Found by simulation seed 165: it waited for ever for its own server, the primary, to have what the promotion lost.
#[tokio::test(start_paused = true)]
async fn h22_a_leader_that_followed_the_old_primary_goes_over_to_its_own_server() {
    let world = Regions::new(Duration::ZERO).await;
    let (one, two) = (world.start("a-1").await, world.start("b-1").await);
    world.databases[1].take_down();
    until("the primary's log", async || two.group().followed.as_deref() == Some("a")).await;
    one.write(follow(1, 2)).await.unwrap();
    until("told", async || two.local(follows(1)).await == 1).await;
    world.databases[0].take_down();
    world.databases[1].bring_up();
    promote_b(&world).await;
    world.promoted("b", 2);

    until("its own log", async || two.group().followed.as_deref() == Some("b")).await;
    two.serves().await;
    until("vouched for", async || two.group().age.is_some_and(|age| age < Duration::from_secs(1))).await;
    assert_eq!((two.position().epoch, two.local(follows(1)).await), (Epoch(2), 0));
}

/// Found by simulation seed 80: the new primary got the other side of an edge that only the old one has.
#[tokio::test(start_paused = true)]
async fn h27_what_the_old_primary_commits_after_a_promotion_gets_no_other_side() {
    let world = Regions::new(Duration::from_millis(20)).await;
    let (one, two) = (world.start("a-1").await, world.start("b-1").await);
    let other = |shard| object(ShardId(shard), 1);
    let hold = world.databases[0].hold_commits();
    let pairs = (1..SHARDS).map(|shard| one.write(add(user(1), LIKES, other(shard), 1)));
    let promotion = async {
        pause(5).await;
        promote_b(&world).await;
        world.promoted("b", 2);
        drop(hold);
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(pairs), promotion);
    let replies: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().reply).collect();
    assert!(replies.iter().all(|reply| reply.positions[0].epoch == Epoch(1)), "{replies:?}");
    assert!(replies.iter().any(|reply| reply.inverse_pending), "{replies:?}");
    pause(5_000).await;
    for shard in 1..SHARDS {
        let back = two.count(list(other(shard), LIKED_BY), Demand::local()).await.0;
        assert_eq!((two.local(list(user(1), LIKES)).await, back), (0, 0));
    }
}
