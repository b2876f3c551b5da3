//! How old what is known is, and what may be answered from it (R20, R21).

use tao_schema::ops::Freshness;

use super::*;

const AT_ONCE: Duration = Duration::ZERO;

fn within(limit: Duration) -> ReadRequest {
    let demand = Demand { freshness: Freshness::Within(limit), ..Demand::local() };
    ReadRequest { demand, ..get(1) }
}

fn not_before(time: u64) -> ReadRequest {
    let demand = Demand { not_before: Some(PrimaryTime(time)), ..Demand::local() };
    ReadRequest { demand, ..get(1) }
}

fn secs(secs: f64) -> Duration {
    Duration::from_secs_f64(secs)
}

impl Fixture {
    /// A follower with the usual limit of age, its shard live at 10 and vouched for, object 1 in memory.
    async fn vouched() -> (Self, Stream) {
        let mut f = fixture_with(FollowerOptions::default());
        let mut stream = f.live_at(10).await;
        stream.vouch(at(10), AT_ONCE, 1_000).await;
        f.fill(1, 10, Some(row(4, "a"))).await;
        (f, stream)
    }

    /// Sends a read up and answers it; what the leader was asked.
    async fn goes_up(&mut self, request: ReadRequest) -> ReadRequest {
        assert!(self.follower.try_read(&request).is_none(), "{request:?} is answered here");
        let read = self.spawn_read(request);
        let asked = self.leaders[0].answer_read(10).await;
        read.await.unwrap().unwrap();
        asked
    }
}

#[tokio::test(start_paused = true)]
async fn h23_after_a_sleep_only_a_probe_sent_since_makes_a_node_young_again() {
    let (mut f, mut stream) = Fixture::vouched().await;
    assert_eq!(f.memory(1), Some((Some(4), 10)));
    let before = stream.probed().await;
    f.clock.sleep(secs(3_600.0));
    assert!(f.continuous(), "the runtime has not noticed: its clock stood still");
    assert_eq!(f.memory(1), None, "R21: Local");
    assert!(f.follower.dump(SHARD).is_empty());
    assert!(f.follower.try_read(&get_at_least(1, 4)).is_none(), "R21: AtLeast");
    // What lay in the buffers meanwhile, as new as it may look.
    stream.heartbeat(10);
    stream.answer(before, at(10), AT_ONCE, 3_600_000);
    settle().await;
    assert!(f.age().unwrap() >= secs(3_600.0), "{:?}", f.age());
    assert_eq!(f.memory(1), None);
    f.goes_up(get(1)).await;
    assert_eq!(f.counted(ReadResult::Aged), 1);
    stream.vouch(at(10), secs(0.02), 3_601_000).await;
    assert_eq!(f.memory(1), Some((Some(4), 10)));
}

#[tokio::test(start_paused = true)]
async fn a_bounded_read_goes_up_exactly_when_the_age_is_above_its_bound() {
    let (mut f, mut stream) = Fixture::vouched().await;
    stream.probed().await;
    stream.vouch(at(10), secs(0.3), 1_500).await;
    assert_eq!(f.age(), Some(secs(0.3)), "the leader's age, and no time of the way");
    assert_eq!(f.rule(within(secs(0.3))).unwrap(), "R21 Bounded: age 0.30 s of 0.30 s");
    assert!(f.follower.try_read(&within(secs(0.299_999))).is_none());
    tokio::time::advance(Duration::from_millis(1)).await;
    let asked = f.goes_up(within(secs(0.3))).await;
    assert_eq!(asked.demand.freshness, Freshness::Within(secs(0.3)), "with its whole demand");
    assert_eq!(f.rule(within(secs(1.0))).unwrap(), "R21 Bounded: age 0.30 s of 1 s");
    assert_eq!(f.rule(get(1)).unwrap(), "R21 Local: age 0.30 s of 10 s");
    assert_eq!(f.counted(ReadResult::Bounded), 1);
}

#[tokio::test(start_paused = true)]
async fn a_bounded_read_of_what_is_not_in_memory_takes_a_fill_that_knows_as_much_as_memory() {
    let (mut f, stream) = Fixture::vouched().await;
    stream.change(11, 2, Some("b"));
    settle().await;
    f.evict(2);
    let read = f.spawn_read(ReadRequest { op: get(2).op, ..within(secs(1.0)) });
    let asked = f.leaders[0].answer_fill(11, Some(row(11, "b"))).await;
    assert_eq!(asked.at_least, Some(at(11)), "change 11 was known within the bound");
    assert_eq!(shown(&read.await.unwrap().unwrap()), (Some(11), 11));
}

#[tokio::test(start_paused = true)]
async fn only_what_its_own_stream_has_brought_is_vouched_for() {
    let mut f = fixture_with(FollowerOptions::default());
    let mut stream = f.live_at(10).await;
    let group =
        |shards| GroupAge { host_group: HostGroupId(1), age: AT_ONCE, time: PrimaryTime(1_000), shards };
    let say = |stream: &Stream, probe, positions, ages| {
        stream.say(StreamMessage::Heartbeat { positions, sent_unix_ms: 0, probe, ages });
    };
    let probe = stream.probed().await;
    say(&stream, 0, vec![at(10)], vec![group(vec![SHARD])]);
    say(&stream, probe + 1_000, vec![at(10)], vec![group(vec![SHARD])]);
    settle().await;
    assert_eq!(f.age(), None, "it answers no question");
    // R20: a fence, or a log that is lost, takes the shard off the list.
    say(&stream, probe, vec![at(10)], vec![group(vec![ShardId(4)])]);
    settle().await;
    assert_eq!(f.age(), None, "nobody vouches for a fenced shard");
    let probe = stream.probed().await;
    say(&stream, probe, Vec::new(), vec![group(vec![SHARD])]);
    settle().await;
    assert_eq!(f.age(), None, "R10: it does not say what it follows");
    let probe = stream.probed().await;
    say(&stream, probe, vec![at(11)], vec![group(vec![SHARD])]);
    settle().await;
    assert!(f.age().is_none() && !f.continuous(), "H9: the last change was lost");
    assert_eq!(stream.subscribed_from().await, Some(Seq(10)));
    let probe = stream.probed().await;
    say(&stream, probe, vec![at(10)], vec![group(vec![SHARD])]);
    settle().await;
    assert_eq!(f.age(), None, "not live");
    stream.say(StreamMessage::Subscribed { position: at(10), history: Vec::new() });
    settle().await;
    stream.vouch(at(10), AT_ONCE, 1_000).await;
    assert_eq!(f.age(), Some(AT_ONCE));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_served_from_memory_when_nobody_vouches_for_it_any_longer() {
    let (mut f, mut stream) = Fixture::vouched().await;
    for beats in 1..=21 {
        tokio::time::sleep(secs(0.5)).await;
        stream.heartbeat(10);
        settle().await;
        assert_eq!(f.memory(1).is_some(), beats <= 20, "after {beats} beats at age {:?}", f.age());
    }
    assert!(f.continuous(), "the stream lives; the leader's log does not");
    let asked = f.goes_up(get_at_least(1, 4)).await;
    assert_eq!(asked.demand.at_least, Some(at(10)), "what this node knows already stays known (R15)");
    stream.vouch(at(10), AT_ONCE, 11_000).await;
    assert_eq!(f.rule(get_at_least(1, 4)).unwrap(), "R21 AtLeast: watermark 10 >= 4");
    let metrics = f.follower.metrics();
    assert_eq!((metrics.token_reads_local.get(), metrics.token_reads_up.get()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_lost_stream_that_goes_on_does_not_make_a_shard_younger() {
    let (mut f, stream) = Fixture::vouched().await;
    drop(stream);
    settle().await;
    assert_eq!(f.memory(1), None, "R16");
    let mut stream = f.leaders[0].accept().await;
    assert_eq!(stream.subscribed_from().await, Some(Seq(10)));
    f.clock.sleep(secs(11.0));
    stream.say(StreamMessage::Subscribed { position: at(10), history: Vec::new() });
    settle().await;
    assert!(f.continuous());
    assert_eq!(f.memory(1), None, "a subscription is no proof of age");
    let went_live = Instant::now();
    stream.vouch(at(10), AT_ONCE, 12_000).await;
    assert!(went_live.elapsed() < Duration::from_millis(10), "asked at once: {:?}", went_live.elapsed());
    assert_eq!(f.memory(1), Some((Some(4), 10)));
}

#[tokio::test(start_paused = true)]
async fn h24_a_time_floor_is_met_by_the_applied_time_of_the_primary_alone() {
    let mut f = fixture();
    let mut stream = f.live_at(10).await;
    f.fill(1, 10, Some(row(4, "a"))).await;
    assert_eq!(f.goes_up(not_before(1)).await.demand.not_before, Some(PrimaryTime(1)), "no heartbeat yet");
    stream.vouch(at(10), AT_ONCE, 5_000).await;
    assert_eq!(f.rule(not_before(5_000)).unwrap(), "R19 floor: primary time 5000 >= 5000");
    tokio::time::advance(secs(1.0)).await;
    f.goes_up(not_before(5_001)).await;
    assert_eq!(f.counted(ReadResult::NotBefore), 2);
    // What a session folds: nothing that it was shown was committed later.
    let time = f.follower.try_read(&get(1)).unwrap().unwrap().time.unwrap();
    assert!((6_000..6_010).contains(&time.0), "{time}");
    let filled = f.fill(2, 10, None).await;
    assert!(filled.time.unwrap() >= time);
}

#[tokio::test(start_paused = true)]
async fn what_only_the_master_region_may_answer_goes_up_as_it_is() {
    let (mut f, _stream) = Fixture::vouched().await;
    for (freshness, result) in
        [(Freshness::Master, ReadResult::Master), (Freshness::Critical, ReadResult::Critical)]
    {
        let request = ReadRequest { demand: Demand { freshness, ..Demand::local() }, ..get(1) };
        assert_eq!(f.goes_up(request).await.demand.freshness, freshness);
        assert_eq!(f.counted(result), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_above_keeps_the_rule_that_it_was_given_by() {
    let mut f = fixture();
    let read = f.spawn_read(ReadRequest { explain: true, ..get(1) });
    let (_, answer) = next(&mut f.leaders[0].reads).await;
    let explain = Explain {
        source: Source::Database,
        path: vec!["leader-1".to_owned(), "leader-9".to_owned()],
        reason: String::new(),
        rule: "R21 Critical: row 10".to_owned(),
    };
    let time = Some(PrimaryTime(77));
    let reply = ReadReply { position: at(10), answer: Answer::Object(None), explain: Some(explain), time };
    answer.send(Ok(reply)).unwrap();
    let reply = read.await.unwrap().unwrap();
    let explain = reply.explain.unwrap();
    assert_eq!((explain.rule.as_str(), explain.reason.as_str()), ("R21 Critical: row 10", "not_continuous"));
    assert_eq!((explain.path.len(), reply.time), (3, time));
}
