//! The client against followers in memory, under paused time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tao_schema::ErrorCode;
use tao_schema::ids::{ObjectId, ObjectType, Position, Seq, ShardId};
use tao_schema::ops::{Effect, Source};
use tao_schema::wire::proto;
use tokio::time::Instant;

use crate::testing::{FakeCluster, Graph, Reaction, region_topology, topology};
use crate::{BatchReply, Client, Options};

const ANY: ObjectId = ObjectId::new(ShardId(7), 1);

fn graph_cluster(followers: usize) -> FakeCluster {
    let graph = Graph::demo();
    FakeCluster::new(followers, move |_, request| graph.answer(request))
}

/// Number, from 1, of the follower that owns the shard of `ANY`.
fn owner(client: &Client) -> usize {
    client.node_of(ANY.shard()).unwrap().0[1..].parse().unwrap()
}

fn writes(cluster: &FakeCluster) -> Vec<proto::WriteRequest> {
    let requests = cluster.followers.iter().flat_map(|node| node.requests());
    requests
        .filter_map(|request| match request.op {
            Some(proto::request::Op::Write(write)) => Some(write),
            _ => None,
        })
        .collect()
}

fn requests_of(cluster: &FakeCluster) -> Vec<usize> {
    cluster.followers.iter().map(|node| node.requests().len()).collect()
}

fn reads(cluster: &FakeCluster) -> Vec<proto::ReadRequest> {
    let requests = cluster.followers.iter().flat_map(|node| node.requests());
    requests
        .filter_map(|request| match request.op {
            Some(proto::request::Op::Read(read)) => Some(read),
            _ => None,
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn every_operation_goes_there_and_back() {
    let cluster = graph_cluster(2);
    let client = cluster.client().await.unwrap();
    let named = ObjectId::named(ObjectType(1), 5, 64);
    let ann = client.object_add("user").id(named).set("name", "Ann").send().await.unwrap();
    assert_eq!(ann.id, named);
    let bob = client.object_add("user").near(named).send().await.unwrap().id;
    assert_eq!(bob.shard(), named.shard());
    let post = client.object_add(2u16).on_shard(ShardId(9)).set("text", "hi").send().await.unwrap().id;
    assert_eq!(post.shard(), ShardId(9));

    client.assoc_add(named, "friend", bob).time(10).set("circle", "work").send().await.unwrap();
    let made = client.assoc_add(named, "likes", post).time(20).create_only().send().await.unwrap();
    assert_eq!((made.effect(), made.positions.len()), (Effect::Created, 2));
    let again = client.assoc_add(named, "likes", post).create_only().send().await.unwrap_err();
    assert_eq!(again.code, ErrorCode::PreconditionFailed);
    let count = client.assoc_count(post, "liked_by").send().await.unwrap();
    assert_eq!(count.count, 1);
    let stale = client.assoc_add(named, "likes", bob).expected_version(Seq(999)).send().await.unwrap_err();
    assert_eq!(stale.code, ErrorCode::PreconditionFailed);

    let friends = client.assoc_range(named, "friend").pos(0).limit(5).send().await.unwrap();
    let friend = friends.iter().next().unwrap();
    assert_eq!((friend.id2, friend.time.0, friends.len()), (bob, 10, 1));
    assert_eq!(friend.fields().text("circle").unwrap(), "work");
    assert!(client.assoc_range(named, "friend").pos(1).send().await.unwrap().is_empty());
    assert_eq!(client.assoc_get(named, "likes", [post, bob]).high(20).low(20).send().await.unwrap().len(), 1);
    assert_eq!(client.assoc_time_range(named, "likes").high(19).send().await.unwrap().len(), 0);
    let range = client.assoc_time_range(named, "likes").high(30).low(20).limit(3).send().await.unwrap();
    assert_eq!(range.ids().collect::<Vec<_>>(), [post]);

    client.assoc_change_type(named, "likes", post, "has_comment").send().await.unwrap_err();
    client.assoc_delete(named, "friend", bob).send().await.unwrap();
    assert_eq!(client.assoc_count(bob, "friend").send().await.unwrap().count, 0);
    let updated = client.object_update(named, "user").set("verified", true).clear("name");
    updated.expected_version(ann.version).send().await.unwrap();
    let read = client.object_get(named).send_explained().await.unwrap();
    assert_eq!(read.explain.unwrap().source, Source::FollowerCache);
    let user = read.value.unwrap();
    assert_eq!((user.text("name").unwrap(), user.bool("verified").unwrap()), ("", true));
    assert_eq!((user.type_name(), user.fields().is_set("name").unwrap()), (Some("user"), false));
    assert!(user.text("verified").unwrap_err().message.contains("of kind bool"));
    client.object_delete(named).send().await.unwrap();
    assert!(client.object_get(named).send().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn bad_input_is_refused_before_it_is_sent() {
    let cluster = graph_cluster(1);
    let client = cluster.client().await.unwrap();
    let errors = [
        client.object_add("usr").send().await.unwrap_err(),
        client.object_add("user").set("nam", "x").send().await.unwrap_err(),
        client.object_add("user").set("name", 5).send().await.unwrap_err(),
        client.object_add("comment").set("text", "x".repeat(70_000)).send().await.unwrap_err(),
        client.assoc_range(ANY, "friend").limit(6_001).send().await.unwrap_err(),
        client.assoc_count(ANY, "enemy").send().await.unwrap_err(),
        client.atomic().send().await.unwrap_err(),
    ];
    for error in &errors {
        assert_eq!(error.code, ErrorCode::InvalidArgument, "{error}");
    }
    assert!(errors[0].message.contains("user, post"), "{}", errors[0]);
    let far = ObjectId::new(ShardId(64), 1);
    assert_eq!(client.object_get(far).send().await.unwrap_err().code, ErrorCode::NoSuchShard);
    assert!(cluster.followers[0].requests().is_empty());
    for options in [
        Options::default(),
        Options { region: Some("mars".into()), ..cluster.options() },
        Options { tier: Some("leaders".into()), ..cluster.options() },
        Options { attempt_timeout: Duration::from_secs(10), ..cluster.options() },
    ] {
        let refused = Client::connect(options).await.map(|_| ()).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidArgument, "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn fails_over_to_the_next_node_and_comes_back() {
    let cluster = graph_cluster(3);
    let client = cluster.client().await.unwrap();
    let first = owner(&client);
    client.object_get(ANY).send().await.unwrap();
    cluster.network.kill(&format!("f{first}:1"));
    let start = Instant::now();
    for _ in 0..10 {
        client.object_get(ANY).send().await.unwrap();
    }
    assert!(start.elapsed() < Duration::from_millis(100), "nobody waits for a dead node");
    assert_eq!(cluster.followers[first - 1].requests().len(), 1);
    assert_ne!(owner(&client), first, "after failures in a row it is passed over");
    cluster.network.serve(&format!("f{first}:1"), cluster.followers[first - 1].clone());
    tokio::time::sleep(Duration::from_secs(10)).await;
    for _ in 0..5 {
        client.object_get(ANY).send().await.unwrap();
    }
    assert_eq!(owner(&client), first, "a probe has found it");
    assert_eq!(cluster.followers[first - 1].requests().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_hung_node_costs_one_attempt_time() {
    let graph = Graph::demo();
    let hung = Arc::new(AtomicU32::new(0));
    let asked = hung.clone();
    let cluster = FakeCluster::new(2, move |number, request| {
        if asked.load(Ordering::Relaxed) == number as u32 { Reaction::Hold } else { graph.answer(request) }
    });
    let client = cluster.client().await.unwrap();
    hung.store(owner(&client) as u32, Ordering::Relaxed);
    let start = Instant::now();
    client.object_get(ANY).send().await.unwrap();
    let waited = start.elapsed();
    assert!((2_000..2_100).contains(&waited.as_millis()), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_retried_write_keeps_its_id_and_grows_its_age() {
    let graph = Graph::demo();
    let first = Arc::new(AtomicBool::new(true));
    // The first attempt is carried out, but its answer is lost.
    let cluster = FakeCluster::new(2, move |_, request| {
        let reaction = graph.answer(request);
        if first.swap(false, Ordering::Relaxed) { Reaction::Hold } else { reaction }
    });
    let client = cluster.client().await.unwrap();
    let added = client.object_add("user").send().await.unwrap();
    assert!(added.written.replayed, "one effect");
    let attempts = writes(&cluster);
    assert_eq!(attempts.len(), 2);
    assert_eq!((attempts[0].request_id.len(), &attempts[0].request_id), (16, &attempts[1].request_id));
    assert_eq!(attempts[0].op, attempts[1].op, "the shard drawn by chance stays");
    let mut ages: Vec<u64> = attempts.iter().map(|attempt| attempt.age_ms).collect();
    ages.sort_unstable();
    assert_eq!(ages[0], 0);
    assert!((2_000..2_100).contains(&ages[1]), "{ages:?}");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_that_cannot_be_settled_is_said() {
    let cluster = FakeCluster::new(2, |_, _| Reaction::Hold);
    let client = cluster.client().await.unwrap();
    let start = Instant::now();
    let error = client.object_add("user").timeout(Duration::from_secs(3)).send().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::OutcomeUnknown);
    assert!(start.elapsed() <= Duration::from_millis(3_002), "{:?}", start.elapsed());
    let read = client.object_get(ANY).timeout(Duration::from_secs(3)).send().await.unwrap_err();
    assert_eq!(read.code, ErrorCode::DeadlineExceeded);
}

#[tokio::test(start_paused = true)]
async fn retries_are_a_part_of_the_traffic() {
    let cluster = FakeCluster::new(2, |_, _| Reaction::error(ErrorCode::Overloaded));
    let options = Options { retry_burst: 5, ..cluster.options() };
    let client = Client::connect(options).await.unwrap();
    for _ in 0..100 {
        assert_eq!(client.object_get(ANY).send().await.unwrap_err().code, ErrorCode::Overloaded);
    }
    let retries = reads(&cluster).len() - 100;
    assert!((5..=15).contains(&retries), "{retries} retries for 100 requests");
}

#[tokio::test(start_paused = true)]
async fn a_session_reads_its_own_writes_and_never_goes_back() {
    let cluster = graph_cluster(2);
    let client = cluster.client().await.unwrap();
    let session = client.session();
    let ann = session.object_add("user").send().await.unwrap();
    session.object_get(ann.id).send().await.unwrap();
    let expected = Position { shard: ann.id.shard(), epoch: tao_schema::ids::Epoch(1), seq: ann.version };
    assert_eq!(reads(&cluster)[0].at_least, Some(expected.into()), "the write's position goes with the read");
    assert_eq!(session.seen().positions().collect::<Vec<_>>(), [expected]);
    client.object_get(ann.id).send().await.unwrap();
    assert!(reads(&cluster).iter().any(|read| read.at_least.is_none()), "without a session: none");

    // A pair has a position on both sides; a read of another device's token is honoured, too.
    let bob = session.object_add("user").send().await.unwrap().id;
    session.assoc_add(ann.id, "friend", bob).send().await.unwrap();
    let resumed = client.resume_session(&session.export()).unwrap();
    assert_eq!(resumed.seen(), session.seen());
    assert_eq!(resumed.assoc_count(bob, "friend").send().await.unwrap().count, 1);
    let ahead = Position { seq: Seq(expected.seq.0 + 100), ..expected };
    let error = resumed.object_get(ann.id).at_least(ahead).send().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::LostEpoch, "the stricter of both is asked for");
    assert!(client.resume_session("no session").is_err());
}

#[tokio::test(start_paused = true)]
async fn follows_the_topology() {
    let moved = Arc::new(AtomicBool::new(false));
    let graph = Graph::demo();
    let new = moved.clone();
    let cluster = FakeCluster::new(2, move |_, request| {
        if new.load(Ordering::Relaxed) { graph.answer(request) } else { Reaction::error(ErrorCode::NotOwner) }
    });
    // At first, only the first follower is in the topology.
    cluster.followers.iter().for_each(|node| node.set_topology(1, &topology(1, 1)));
    let client = cluster.client().await.unwrap();
    assert_eq!(client.node_of(ANY.shard()).unwrap().0, "f1");
    cluster.followers.iter().for_each(|node| node.set_topology(2, &topology(2, 2)));
    // Refused as not owner: the client looks at the topology again, and meanwhile tries again.
    let reading = tokio::spawn({
        let client = client.clone();
        async move { client.object_get(ANY).send().await }
    });
    while client.topology().version < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    moved.store(true, Ordering::Relaxed);
    assert!(reading.await.unwrap().unwrap().is_none());
    let owners: std::collections::BTreeSet<String> =
        (0..64).map(|shard| client.node_of(ShardId(shard)).unwrap().0).collect();
    assert_eq!(owners.len(), 2, "both followers own shards now");
}

#[tokio::test(start_paused = true)]
async fn reads_stay_in_the_own_region_as_long_as_it_serves() {
    let graph = Graph::demo();
    let two_regions = region_topology(1, &["east", "west"]);
    let cluster = FakeCluster::of(&two_regions, move |_, request| graph.answer(request));
    // Only reached through a translated address.
    cluster.network.kill("f2:1");
    cluster.network.serve("gate:9", cluster.followers[1].clone());
    let translate = [("f2:1".to_owned(), "gate:9".to_owned())].into();
    let options = Options { region: Some("west".into()), translate, ..cluster.options() };
    let client = Client::connect(options).await.unwrap();
    let session = client.session();
    let ann = session.object_add("user").send().await.unwrap();
    session.object_get(ann.id).send().await.unwrap();
    assert_eq!(requests_of(&cluster), [0, 2]);
    cluster.network.kill("gate:9");
    for _ in 0..5 {
        assert!(session.object_get(ann.id).send().await.unwrap().is_some());
    }
    assert_eq!(requests_of(&cluster), [5, 2], "the session goes on in the other region");
    let asked: proto::Position = ann.written.positions[0].into();
    assert!(reads(&cluster).iter().all(|read| read.at_least == Some(asked)), "with what it has seen");
    cluster.network.serve("gate:9", cluster.followers[1].clone());
    tokio::time::sleep(Duration::from_secs(10)).await;
    session.object_get(ann.id).send().await.unwrap();
    assert_eq!(requests_of(&cluster), [5, 3], "and comes home");
}

#[tokio::test(start_paused = true)]
async fn a_batch_shares_frames_and_keeps_outcomes_apart() {
    let cluster = graph_cluster(2);
    let client = cluster.client().await.unwrap();
    let ann = client.object_add("user").set("name", "Ann").send().await.unwrap().id;
    let before: usize = cluster.followers.iter().map(|node| node.frames().len()).sum();
    let mut batch = client.batch();
    batch.add(client.object_get(ann));
    batch.add(client.object_update(ObjectId::new(ShardId(3), 77), "user").set("name", "x"));
    batch.add(client.assoc_count(ann, "no such type"));
    for shard in 0..64 {
        batch.add(client.object_add("post").on_shard(ShardId(shard)));
    }
    assert_eq!(batch.len(), 67);
    let replies = batch.send().await;
    assert!(matches!(&replies[0], Ok(BatchReply::Object(Some(user))) if user.text("name").unwrap() == "Ann"));
    assert_eq!(replies[1].as_ref().unwrap_err().code, ErrorCode::NotFound);
    assert_eq!(replies[2].as_ref().unwrap_err().code, ErrorCode::InvalidArgument);
    for (shard, reply) in replies[3..].iter().enumerate() {
        assert!(matches!(reply, Ok(BatchReply::Added(added)) if added.id.shard().0 == shard as u16));
    }
    let frames = cluster.followers.iter().map(|node| node.frames().len()).sum::<usize>() - before;
    assert_eq!(frames, 2, "one frame for each node");
}

#[tokio::test(start_paused = true)]
async fn a_batch_outlives_a_node() {
    let cluster = graph_cluster(2);
    let client = cluster.client().await.unwrap();
    cluster.network.kill(&format!("f{}:1", owner(&client)));
    let mut batch = client.batch();
    for shard in (0..64).map(ShardId) {
        batch.add(client.object_add("post").on_shard(shard));
        batch.add(client.object_get(ObjectId::new(shard, 1)));
    }
    // `boxed` asks that any thread may run it.
    assert!(futures_util::FutureExt::boxed(batch.send()).await.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn reads_of_a_batch_have_their_own_retries_and_deadlines() {
    let graph = Graph::demo();
    let owner = Arc::new(AtomicU32::new(0));
    let refuses = owner.clone();
    // Of the reads that its owner gets, every fourth is refused, and every fourth other is not answered at all.
    let cluster = FakeCluster::new(2, move |number, request| match &request.op {
        Some(proto::request::Op::Read(read)) if refuses.load(Ordering::Relaxed) == number as u32 => {
            match read.op {
                Some(proto::read_request::Op::AssocCount(list)) if list.id1 % 4 == 1 => {
                    Reaction::error(ErrorCode::Unavailable)
                }
                Some(proto::read_request::Op::AssocCount(list)) if list.id1 % 4 == 3 => Reaction::Hold,
                _ => graph.answer(request),
            }
        }
        _ => graph.answer(request),
    });
    let client = cluster.client().await.unwrap();
    owner.store(self::owner(&client) as u32, Ordering::Relaxed);
    let mut batch = client.batch();
    for local in 0..200 {
        let call = client.assoc_count(ObjectId::new(ANY.shard(), local), "friend");
        let impatient = Duration::from_millis(50);
        batch.add(if local % 8 == 3 { call.timeout(impatient) } else { call });
    }
    let start = Instant::now();
    let replies = batch.send().await;
    assert!((2_000..2_100).contains(&start.elapsed().as_millis()), "one attempt time: {:?}", start.elapsed());
    for (local, reply) in replies.iter().enumerate() {
        match reply {
            Err(error) => assert_eq!((error.code, local % 8), (ErrorCode::DeadlineExceeded, 3)),
            Ok(reply) => assert!(matches!(reply, BatchReply::Count(_)) && local % 8 != 3),
        }
    }
    // The first attempts, each once; then what was refused or hung and had time left.
    let (first, again) = (owner.load(Ordering::Relaxed) as usize, 200 / 4 + 200 / 8);
    assert_eq!((requests_of(&cluster)[first - 1], requests_of(&cluster)[2 - first]), (200, again));
}

#[tokio::test(start_paused = true)]
async fn an_atomic_write_is_one_request_on_one_shard() {
    let cluster = graph_cluster(2);
    let client = cluster.client().await.unwrap();
    let post = client.object_add("post").send().await.unwrap().id;
    let mut write = client.atomic();
    write.add(client.object_add("comment").set("text", "first"));
    write.add(client.object_update(post, "post").set("edited", true));
    let written = write.send().await.unwrap();
    let comment = written.outcomes[0].id.unwrap();
    assert_eq!((comment.shard(), written.outcomes.len()), (post.shard(), 2), "it joins the others' shard");
    let mut write = client.atomic();
    write.add(client.object_update(post, "post").set("text", "never"));
    write.add(client.object_update(ObjectId::new(post.shard(), 999), "post").set("text", "x"));
    assert_eq!(write.send().await.unwrap_err().code, ErrorCode::NotFound);
    assert_eq!(
        client.object_get(post).send().await.unwrap().unwrap().text("text").unwrap(),
        "",
        "nothing of it"
    );
    let mut write = client.atomic();
    write.add(client.object_delete(ObjectId::new(ShardId(1), 1)));
    write.add(client.object_delete(ObjectId::new(ShardId(2), 1)));
    assert_eq!(write.send().await.unwrap_err().code, ErrorCode::InvalidArgument);
}
