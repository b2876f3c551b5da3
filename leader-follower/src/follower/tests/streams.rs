use tao_schema::ErrorCode;

use super::*;
use crate::follower::Loss;

#[tokio::test(start_paused = true)]
async fn nothing_is_served_from_memory_without_a_continuous_stream() {
    let mut f = fixture();
    let stream = f.live_at(10).await;
    f.fill(1, 10, Some(row(4, "a"))).await;
    drop(stream);
    settle().await;
    assert_eq!(f.memory(1), None, "R16: the stream is lost");
    let read = f.spawn_read(get(5));
    f.leaders[0].answer_read(11).await;
    assert_eq!(shown(&read.await.unwrap().unwrap()), (None, 11));

    let mut stream = f.leaders[0].accept().await;
    assert_eq!(stream.subscribed_from().await, Some(Seq(10)), "resumes from the own watermark");
    stream.say(StreamMessage::Subscribed { position: at(12), history: Vec::new() });
    settle().await;
    assert_eq!(f.memory(1), None, "changes 11 and 12 are still on their way");
    stream.change(11, 1, None);
    stream.change(12, 2, Some("other"));
    settle().await;
    assert_eq!(f.memory(1), Some((None, 12)), "entries stay, and were brought forward");
    assert_eq!(f.follower.metrics().losses_of(Loss::StreamEnded), 1);
}

#[tokio::test(start_paused = true)]
async fn a_gap_ends_the_trust_and_the_shard_is_asked_for_again() {
    let mut f = fixture();
    let mut stream = f.live_at(10).await;
    f.fill(1, 10, Some(row(4, "a"))).await;
    stream.change(12, 2, Some("x"));
    settle().await;
    assert_eq!(f.memory(1), None);
    assert_eq!(stream.heard().await, Some(Said::Unsubscribe(vec![SHARD])));
    assert_eq!(stream.subscribed_from().await, Some(Seq(10)));
    stream.say(StreamMessage::Reset { position: at(12), history: Vec::new() });
    settle().await;
    assert!(f.continuous());
    assert_eq!(f.memory(1), None, "a reset drops the entries");
    assert_eq!(f.follower.metrics().losses_of(Loss::Gap), 1);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_reveals_that_the_last_change_was_lost() {
    let mut f = fixture();
    let mut stream = f.live_at(10).await;
    stream.heartbeat(10);
    settle().await;
    assert!(f.continuous());
    stream.heartbeat(11);
    settle().await;
    assert!(!f.continuous(), "R10, H9");
    assert_eq!(stream.subscribed_from().await, Some(Seq(10)));
    assert_eq!(f.follower.metrics().losses_of(Loss::Heartbeat), 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_a_lost_stream() {
    let mut f = fixture();
    let stream = f.live_at(10).await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        stream.heartbeat(10);
        settle().await;
    }
    assert!(f.continuous());
    tokio::time::sleep(Duration::from_millis(1_400)).await;
    assert!(f.continuous(), "three heartbeats are not over");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!f.continuous());
    let mut again = f.leaders[0].accept().await;
    assert_eq!(again.subscribed_from().await, Some(Seq(10)));
    // What the old stream still says is void.
    stream.messages.send(Ok(StreamMessage::Reset { position: at(50), history: Vec::new() })).ok();
    settle().await;
    assert!(!f.continuous());
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_ahead_of_its_leader_waits_and_keeps_its_entries() {
    let mut f = fixture();
    let stream = f.live_at(100).await;
    f.fill(1, 100, Some(row(95, "a"))).await;
    drop(stream);
    let mut stream = f.leaders[0].accept().await;
    assert_eq!(stream.subscribed_from().await, Some(Seq(100)));
    stream.heartbeat(90);
    settle().await;
    assert_eq!(f.memory(1), None);
    // The leader, at 90, answers when it has come to 100 (H15).
    stream.say(StreamMessage::Subscribed { position: at(100), history: Vec::new() });
    settle().await;
    assert_eq!(f.memory(1), Some((Some(95), 100)));
}

#[tokio::test(start_paused = true)]
async fn a_reset_never_takes_a_watermark_back() {
    let mut f = fixture();
    let mut stream = f.live_at(100).await;
    f.fill(1, 100, Some(row(95, "a"))).await;
    stream.say(StreamMessage::Reset { position: at(90), history: Vec::new() });
    settle().await;
    assert_eq!(f.memory(1), None, "time travel is refused, and so is the stream");
    assert_eq!(stream.subscribed_from().await, Some(Seq(100)));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_gone_is_replaced_by_the_next_and_returned_to() {
    let mut f = fixture();
    let stream = f.live_at(10).await;
    f.fill(1, 10, Some(row(4, "a"))).await;
    drop(stream);
    // Two more failures make three in a row.
    for _ in 0..2 {
        let ((), answer) = next(&mut f.leaders[0].opens).await;
        answer.send(Err(Error::unavailable("no route"))).ok();
    }
    let mut second = f.leaders[1].accept().await;
    assert_eq!(second.subscribed_from().await, Some(Seq(10)));
    second.say(StreamMessage::Subscribed { position: at(10), history: Vec::new() });
    settle().await;
    assert_eq!(f.memory(1), Some((Some(4), 10)), "the other leader goes on where the first ended");
    let read = f.spawn_read(get(2));
    f.leaders[1].answer_fill(10, None).await;
    assert!(read.await.unwrap().is_ok(), "fills go to the second, too");

    // The first is knocked at until it opens; then the shard comes back to it.
    let mut first = f.leaders[0].accept().await;
    assert_eq!(first.subscribed_from().await, Some(Seq(10)));
    assert_eq!(second.heard().await, Some(Said::Unsubscribe(vec![SHARD])));
    // H16: what the second says now is not listened to.
    second.messages.send(Ok(StreamMessage::Change(Arc::new(change(11, 1, Some("late")))))).ok();
    settle().await;
    assert_eq!(f.memory(1), None);
    first.say(StreamMessage::Subscribed { position: at(10), history: Vec::new() });
    settle().await;
    assert_eq!(f.memory(1), Some((Some(4), 10)));
}

#[tokio::test(start_paused = true)]
async fn repeated_resets_serve_the_shard_uncached_for_a_while() {
    let options = FollowerOptions { resets_tolerated: 2, backoff: Duration::from_secs(2), ..ageless() };
    let mut f = fixture_with(options);
    let mut stream = f.live_at(10).await;
    for seq in 11..=13 {
        assert!(f.continuous(), "before reset to {seq}");
        stream.say(StreamMessage::Reset { position: at(seq), history: Vec::new() });
        settle().await;
    }
    assert!(!f.continuous(), "R16: the third is one too many");
    assert_eq!(stream.heard().await, Some(Said::Unsubscribe(vec![SHARD])));
    let read = f.spawn_read(get(1));
    f.leaders[0].answer_read(13).await;
    assert!(read.await.unwrap().is_ok());
    let paused = Instant::now();
    let mut again = f.leaders[0].accept().await;
    assert_eq!(again.subscribed_from().await, Some(Seq(13)));
    assert!(paused.elapsed() >= Duration::from_secs(1), "{:?}", paused.elapsed());
    assert_eq!(f.follower.metrics().losses_of(Loss::Reset), 3);
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_nobody_reads_is_forgotten_and_comes_back_empty() {
    let options = FollowerOptions { idle_unsubscribe: Duration::from_secs(20), ..ageless() };
    let mut f = fixture_with(options);
    let mut stream = f.live_at(10).await;
    f.fill(1, 10, Some(row(4, "a"))).await;
    let beats = |stream: &Stream, count: u32| {
        let messages = stream.messages.clone();
        async move {
            for _ in 0..count {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let beat = StreamMessage::Heartbeat {
                    positions: vec![at(10)],
                    sent_unix_ms: 0,
                    probe: 0,
                    ages: Vec::new(),
                };
                messages.send(Ok(beat)).ok();
            }
        }
    };
    for _ in 0..4 {
        beats(&stream, 30).await;
        assert_eq!(f.memory(1), Some((Some(4), 10)), "reads keep it");
    }
    beats(&stream, 45).await;
    assert_eq!(f.memory(1), None, "H16: what it missed while away can't be known");
    assert_eq!(stream.heard().await, Some(Said::Unsubscribe(vec![SHARD])));
    assert_eq!(stream.heard().await, None, "without shards, the stream is closed");
    assert_eq!(f.follower.metrics().shards_subscribed.get(), 0);
    let read = f.spawn_read(get(1));
    f.leaders[0].answer_read(10).await;
    assert!(read.await.unwrap().is_ok());
    let mut stream = f.leaders[0].accept().await;
    assert_eq!(stream.subscribed_from().await, None);
    stream.say(StreamMessage::Reset { position: at(10), history: Vec::new() });
    settle().await;
    assert_eq!(f.memory(1), None, "the entry from before is void");
}

#[tokio::test(start_paused = true)]
async fn a_refused_shard_is_asked_for_again_and_read_uncached() {
    let mut f = fixture();
    let mut stream = f.live_at(10).await;
    let error = Error::unavailable("its database is down");
    stream.say(StreamMessage::Refused { shard: SHARD, error });
    settle().await;
    assert!(!f.continuous());
    assert_eq!(stream.subscribed_from().await, Some(Seq(10)), "by the same leader: the writes go there");
    stream.say(StreamMessage::Refused { shard: SHARD, error: Error::new(ErrorCode::NotOwner, "not mine") });
    f.stale_topology.notified().await;
    let mut second = f.leaders[1].accept().await;
    assert_eq!(second.subscribed_from().await, Some(Seq(10)));
}

#[tokio::test(start_paused = true)]
async fn the_end_ends_the_trust() {
    let mut f = fixture();
    let _stream = f.live_at(10).await;
    f.fill(1, 10, None).await;
    assert!(f.follower.shutdown().await);
    assert_eq!(f.memory(1), None);
    assert_eq!(f.spawn_read(get(1)).await.unwrap().unwrap_err().code, ErrorCode::Unavailable);
    assert_eq!(f.follower.metrics().reads_of(&get(1).op, ReadResult::Hit), 0);
}
