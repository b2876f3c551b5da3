//! The leaders' own p99, from the histograms that each of them exports at its admin address.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How often they are asked.
pub(super) const ASK_EVERY: Duration = Duration::from_secs(1);
/// What counts is what they did so lately.
const WINDOW: Duration = Duration::from_secs(10);
/// Of fewer calls than that the worst one would be the p99.
const CALLS: u64 = 100;
/// One that takes longer to answer has no p99 this time.
const PATIENCE: Duration = Duration::from_secs(1);
/// Of one answer.
const PAGE_BYTES: u64 = 8 << 20;
/// Leaders that are asked at once.
const AT_ONCE: usize = 16;

/// What a copy makes slower if it takes too much: histograms of leaders, and what people call them.
const TIMES: [(&str, &str); 3] = [
    ("tao_leader_commit_duration_seconds_bucket", "transactions take"),
    ("tao_leader_lane_wait_seconds_bucket", "writes wait for their lane"),
    ("tao_leader_read_duration_seconds_bucket", "database reads take"),
];

/// A leader that can be asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Leader {
    /// For people.
    pub(super) place: String,
    /// `host:port` of its admin page.
    pub(super) admin: String,
}

/// The slowest of a leader's times.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct LeaderTime {
    pub(super) place: String,
    /// Of what.
    pub(super) what: &'static str,
    pub(super) p99: Duration,
}

/// How many calls took at most so long, for each of [`TIMES`]: as exported, each bound counts those below it.
type Counts = [Vec<(f64, u64)>; TIMES.len()];

/// What leaders exported lately.
#[derive(Default)]
pub(super) struct Leaders {
    /// By admin address, the oldest first.
    seen: HashMap<String, VecDeque<(Instant, Counts)>>,
}

impl Leaders {
    /// Asks all of them. One that does not answer, or did too little lately, is left out: its own trouble is no sign of load.
    pub(super) async fn ask(&mut self, leaders: &[Leader]) -> Vec<LeaderTime> {
        self.seen.retain(|admin, _| leaders.iter().any(|leader| leader.admin == *admin));
        let pages = stream::iter(leaders.to_vec()).map(|leader| async move {
            let page = tokio::time::timeout(PATIENCE, page(&leader.admin)).await;
            (leader, page.ok().and_then(Result::ok))
        });
        let mut pages = pages.buffered(AT_ONCE);
        let mut times = Vec::new();
        while let Some((leader, page)) = pages.next().await {
            let Some(page) = page else {
                self.seen.remove(&leader.admin);
                continue;
            };
            times.extend(self.learn(&leader, counts(&page), Instant::now()));
        }
        times
    }

    fn learn(&mut self, leader: &Leader, now: Counts, at: Instant) -> Option<LeaderTime> {
        let seen = self.seen.entry(leader.admin.clone()).or_default();
        // It was started anew: it counts from zero again.
        if seen.back().is_some_and(|(_, last)| (0..TIMES.len()).any(|of| total(&last[of]) > total(&now[of])))
        {
            seen.clear();
        }
        seen.push_back((at, now));
        while seen.len() > 2 && seen.front().is_some_and(|(first, _)| at.duration_since(*first) > WINDOW) {
            seen.pop_front();
        }
        let ((_, then), (_, now)) = (seen.front()?, seen.back()?);
        let times = TIMES.iter().enumerate().filter_map(|(of, (_, what))| {
            Some(LeaderTime { place: leader.place.clone(), what, p99: p99(&then[of], &now[of])? })
        });
        times.max_by_key(|time| time.p99)
    }
}

fn total(counts: &[(f64, u64)]) -> u64 {
    counts.last().map_or(0, |(_, count)| *count)
}

/// Of the calls between two looks; `None`: too few. Within a bucket, calls are taken to be spread evenly.
fn p99(then: &[(f64, u64)], now: &[(f64, u64)]) -> Option<Duration> {
    let before = |at: usize| then.get(at).map_or(0, |(_, count)| *count);
    let calls: Vec<(f64, f64)> = now
        .iter()
        .enumerate()
        .map(|(at, (bound, count))| (*bound, count.saturating_sub(before(at)) as f64))
        .collect();
    let all = calls.last().map_or(0.0, |(_, count)| *count);
    if all < CALLS as f64 {
        return None;
    }
    let rank = all * 0.99;
    let (mut low, mut below) = (0.0, 0.0);
    for (bound, count) in calls {
        // Beyond the last bound nobody knows: it is at least that.
        if count >= rank || bound.is_infinite() {
            let share = if count > below { ((rank - below) / (count - below)).clamp(0.0, 1.0) } else { 1.0 };
            let seconds = if bound.is_infinite() { low } else { low + (bound - low) * share };
            return Duration::try_from_secs_f64(seconds).ok();
        }
        (low, below) = (bound, count);
    }
    None
}

/// The histograms in a page of metrics.
fn counts(page: &str) -> Counts {
    let mut found = Counts::default();
    for line in page.lines() {
        for (counts, (name, _)) in found.iter_mut().zip(TIMES) {
            counts.extend(line.strip_prefix(name).and_then(bucket));
        }
    }
    found
}

/// `{le="0.1"} 12`: a bound, and how many are below.
fn bucket(rest: &str) -> Option<(f64, u64)> {
    let (labels, value) = rest.strip_prefix('{')?.split_once('}')?;
    let bound = labels.split_once("le=\"")?.1.split_once('"')?.0;
    let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
    let count = value.split_whitespace().next()?.parse::<f64>().ok()?;
    Some((bound, count as u64))
}

async fn page(admin: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(admin).await?;
    // The older version: the answer is in one piece, and ends with the connection.
    stream.write_all(format!("GET /metrics HTTP/1.0\r\nHost: {admin}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.take(PAGE_BYTES).read_to_string(&mut answer).await?;
    let ok = answer.split_whitespace().nth(1) == Some("200");
    if ok { Ok(answer) } else { Err(std::io::Error::other("no metrics")) }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
    use tao_server::health::Health;
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn leader(admin: String) -> Leader {
        Leader { place: "leader l1".to_owned(), admin }
    }

    #[test]
    fn the_p99_is_of_the_calls_between_two_looks() {
        let then = [(0.1, 50), (0.2, 60), (f64::INFINITY, 60)];
        let same = p99(&then, &then);
        assert_eq!(same, None, "nothing was done");
        let few = [(0.1, 149), (0.2, 159), (f64::INFINITY, 159)];
        assert_eq!(p99(&then, &few), None, "too few");
        // 100 more, two of them slow: the p99 is half way through the slow ones' bucket.
        let more = [(0.1, 148), (0.2, 160), (f64::INFINITY, 160)];
        assert_eq!(p99(&then, &more), Some(Duration::from_millis(150)));
        let beyond = [(0.1, 50), (0.2, 60), (f64::INFINITY, 260)];
        assert_eq!(p99(&then, &beyond), Some(Duration::from_millis(200)), "at least the last bound");
    }

    #[tokio::test]
    async fn a_leader_is_asked_at_its_admin_address() {
        let health = Health::new("l1", "leader");
        let histogram = || Histogram::new(exponential_buckets(0.001, 10.0, 4));
        let (commits, reads) = (histogram(), histogram());
        health.register(|registry| {
            let registry = registry.sub_registry_with_prefix("tao_leader");
            registry.register("commit_duration_seconds", "transactions", commits.clone());
            registry.register("read_duration_seconds", "reads", reads.clone());
        });
        let stop = CancellationToken::new();
        let address = health.serve("127.0.0.1:0".parse().unwrap(), stop.clone()).await.unwrap();
        let asked = [leader(address.to_string())];
        let mut leaders = Leaders::default();
        (0..1_000).for_each(|_| commits.observe(5.0));
        assert_eq!(leaders.ask(&asked).await, [], "how long ago that was is not known");
        (0..200).for_each(|_| commits.observe(0.000_5));
        (0..200).for_each(|_| reads.observe(0.05));
        let times = leaders.ask(&asked).await;
        assert_eq!(times.len(), 1);
        assert_eq!((times[0].place.as_str(), times[0].what), ("leader l1", "database reads take"));
        assert!((0.01..=0.1).contains(&times[0].p99.as_secs_f64()), "{times:?}");
        stop.cancel();
        // Nobody is there any more, or it is somebody else: no p99, and no trouble.
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert_eq!(leaders.ask(&[leader(gone.to_string())]).await, []);
    }

    #[test]
    fn a_leader_that_was_started_anew_counts_from_zero() {
        let mut leaders = Leaders::default();
        let page =
            |count: u64| -> Counts { [vec![(0.5, count), (f64::INFINITY, count)], Vec::new(), Vec::new()] };
        let start = Instant::now();
        let l1 = leader("a:1".to_owned());
        assert_eq!(leaders.learn(&l1, page(1_000), start), None);
        assert!(leaders.learn(&l1, page(1_200), start + ASK_EVERY).is_some());
        assert_eq!(leaders.learn(&l1, page(150), start + ASK_EVERY * 2), None);
        assert!(leaders.learn(&l1, page(300), start + ASK_EVERY * 3).is_some());
        // What is older than the window does not count, so nothing was done lately.
        let later = start + ASK_EVERY * 3 + WINDOW * 2;
        assert_eq!(leaders.learn(&l1, page(301), later), None);
    }
}
