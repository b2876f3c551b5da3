//! What slows a copy down: replicas that are behind, busy primaries, slow leaders. Looked at all the time, beside the work.

use std::time::Duration;

use futures_util::future::join_all;
use tao_schema::ids::PrimaryTime;
use tao_shard_store::log::{Beat, BeatWriter, ServerLog};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ground::Server;
use super::leaders::{ASK_EVERY, Leader, LeaderTime, Leaders};
use super::terms::MoveOptions;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    /// Replicas with their lag; `None`: it does not answer.
    pub(super) lags: Vec<(String, Option<Duration>)>,
    /// Primaries with the threads that execute something; `None`: it does not answer.
    pub(super) threads: Vec<(String, Option<u64>)>,
    /// Primaries with the length of their history lists; `None`: it can't be asked.
    pub(super) history: Vec<(String, Option<u64>)>,
    /// Leaders, each with the slowest of its times.
    pub(super) leaders: Vec<LeaderTime>,
}

/// What forbids to go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Veto {
    /// The option that is its limit.
    pub(super) input: &'static str,
    /// Which server, its value, and the limit.
    pub(super) reason: String,
}

impl Reading {
    /// Why the copy must wait.
    pub(super) fn veto(&self, options: &MoveOptions) -> Option<Veto> {
        let most = options.max_history;
        let history = || {
            let of = |(place, length): &(String, Option<u64>)| Some((place.clone(), (*length)?));
            let (place, length) = self.history.iter().filter_map(of).max_by_key(|(_, length)| *length)?;
            let reason = format!("{place} has a history list of {length}, max-history is {most}");
            (length > most).then_some(Veto { input: "max-history", reason })
        };
        let limit = options.max_leader_p99_ms;
        let leaders = || {
            let LeaderTime { place, what, p99 } = self.slowest().filter(|_| limit > 0)?;
            let ms = p99.as_millis();
            let reason = format!("{place}: {what} {ms} ms (p99), max-leader-p99 is {limit} ms");
            (ms > u128::from(limit)).then_some(Veto { input: "max-leader-p99", reason })
        };
        self.veto_of_cutover(options).or_else(history).or_else(leaders)
    }

    /// Why a cutover must wait. It brings no load, so only what makes it longer counts.
    pub(super) fn veto_of_cutover(&self, options: &MoveOptions) -> Option<Veto> {
        let limit = Duration::from_millis(options.max_lag_ms);
        let away = |place: &str, input| Some(Veto { input, reason: format!("{place} does not answer") });
        for (place, lag) in &self.lags {
            match lag {
                None => return away(place, "max-lag"),
                Some(lag) if *lag > limit => {
                    let (lag, most) = (lag.as_millis(), limit.as_millis());
                    let reason = format!("{place} is {lag} ms behind, max-lag is {most} ms");
                    return Some(Veto { input: "max-lag", reason });
                }
                Some(_) => {}
            }
        }
        for (place, threads) in &self.threads {
            match threads {
                None => return away(place, "max-threads"),
                Some(threads) if *threads > options.max_threads => {
                    let most = options.max_threads;
                    let reason = format!("{place} executes {threads} threads, max-threads is {most}");
                    return Some(Veto { input: "max-threads", reason });
                }
                Some(_) => {}
            }
        }
        None
    }

    /// The leader whose p99 is the worst.
    pub(super) fn slowest(&self) -> Option<&LeaderTime> {
        self.leaders.iter().max_by_key(|time| time.p99)
    }

    /// The longer one of the history lists.
    pub(super) fn longest_history(&self) -> Option<u64> {
        self.history.iter().filter_map(|(_, length)| *length).max()
    }

    /// The largest lag of a replica.
    pub(super) fn lag(&self) -> Option<Duration> {
        self.lags.iter().filter_map(|(_, lag)| *lag).max()
    }
}

/// Primaries with their replicas, and leaders, looked at until it is dropped.
pub(super) struct Gate {
    readings: watch::Receiver<Reading>,
    /// Whom the second task asks, and what they said.
    asked: watch::Sender<Vec<Leader>>,
    times: watch::Receiver<Vec<LeaderTime>>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Gate {
    /// Looks once, then goes on looking.
    pub(super) async fn open(groups: Vec<(Server, Vec<Server>)>, writer: BeatWriter) -> Self {
        let watched = |(primary, replicas)| Watched { primary, replicas, since: None };
        let mut groups: Vec<Watched> = groups.into_iter().map(watched).collect();
        let first = look(&mut groups, writer).await;
        let (tell, readings) = watch::channel(first);
        let looks = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                if tell.send(look(&mut groups, writer).await).is_err() {
                    return;
                }
            }
        });
        let (asked, whom) = watch::channel(Vec::new());
        let (tell, times) = watch::channel(Vec::new());
        // On its own: a leader that does not answer must not make the lags old.
        let asks = tokio::spawn(async move {
            let mut leaders = Leaders::default();
            loop {
                let whom = whom.borrow().clone();
                if tell.send(leaders.ask(&whom).await).is_err() {
                    return;
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
        });
        Self { readings, asked, times, tasks: [looks, asks] }
    }

    /// What was found last. `leaders`: who is to be asked from now on.
    pub(super) fn reading(&self, leaders: Vec<Leader>) -> Reading {
        self.asked.send_if_modified(|asked| {
            let changed = *asked != leaders;
            *asked = leaders;
            changed
        });
        Reading { leaders: self.times.borrow().clone(), ..self.readings.borrow().clone() }
    }
}

/// A host group as it is looked at.
struct Watched {
    primary: Server,
    replicas: Vec<Server>,
    /// When the first heartbeat that is remembered was written.
    since: Option<PrimaryTime>,
}

async fn look(groups: &mut [Watched], writer: BeatWriter) -> Reading {
    let mut reading = Reading::default();
    for found in join_all(groups.iter_mut().map(|group| look_at(group, writer))).await {
        reading.lags.extend(found.lags);
        reading.threads.extend(found.threads);
        reading.history.extend(found.history);
    }
    reading
}

async fn look_at(Watched { primary, replicas, since }: &mut Watched, writer: BeatWriter) -> Reading {
    let beat = Beat { writer, nonce: rand::random() };
    // A heartbeat shows how far a replica is, whatever its own clock says. It has until the next look to arrive.
    let before = primary.store.survey(writer).await.ok().and_then(|survey| survey.beat);
    let written = primary.store.beat(beat).await.ok();
    let threads = primary.store.threads_running().await.ok();
    let history = primary.store.history_length().await.ok().flatten();
    // The one before this may be all that could have come through.
    let current = [Some(beat.nonce), before.map(|(nonce, _)| nonce)];
    let times = written.map(|now| (*since.get_or_insert(before.map_or(now, |(_, at)| at)), now));
    let asked = replicas.iter().map(|replica| async move {
        let seen = replica.store.survey(writer).await.ok()?.beat;
        times.map(|(since, now)| behind(seen, current, since, now))
    });
    let lags = join_all(asked).await;
    Reading {
        lags: replicas.iter().map(Server::place).zip(lags).collect(),
        threads: vec![(primary.place(), threads)],
        history: vec![(primary.place(), history)],
        leaders: Vec::new(),
    }
}

/// How far a replica is behind that shows this heartbeat. One that shows none got nothing since the first was written: it may stand
/// still since long before.
fn behind(
    seen: Option<(u64, PrimaryTime)>,
    current: [Option<u64>; 2],
    since: PrimaryTime,
    now: PrimaryTime,
) -> Duration {
    let at = match seen {
        Some((nonce, _)) if current.contains(&Some(nonce)) => return Duration::ZERO,
        Some((_, at)) => at,
        None => since,
    };
    Duration::from_millis(now.0.saturating_sub(at.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calm() -> Reading {
        let time = |place: &str, ms| LeaderTime {
            place: place.to_owned(),
            what: "database reads take",
            p99: Duration::from_millis(ms),
        };
        Reading {
            lags: vec![("r1".to_owned(), Some(Duration::from_millis(20)))],
            threads: vec![("a".to_owned(), Some(3)), ("b".to_owned(), Some(4))],
            // One that may not be asked forbids nothing.
            history: vec![("a".to_owned(), None), ("b".to_owned(), Some(700))],
            leaders: vec![time("leader l1", 30), time("leader l2", 80)],
        }
    }

    #[test]
    fn a_replica_that_shows_no_heartbeat_falls_behind_all_the_same() {
        let (since, now) = (PrimaryTime(1_000), PrimaryTime(9_000));
        let lag = |seen| behind(seen, [Some(7), Some(6)], since, now).as_millis();
        assert_eq!(lag(Some((7, PrimaryTime(8_900)))), 0);
        assert_eq!(lag(Some((6, PrimaryTime(8_400)))), 0, "the one before is all that could be there");
        assert_eq!(lag(Some((5, PrimaryTime(7_900)))), 1_100);
        assert_eq!(lag(None), 8_000, "it stands still since before the first one");
    }

    #[test]
    fn each_input_has_its_limit_and_says_which_value_is_above_it() {
        let options = MoveOptions::default();
        assert_eq!(calm().veto(&options), None);
        for (limits, input, reason) in [
            (
                MoveOptions { max_lag_ms: 19, ..options.clone() },
                "max-lag",
                "r1 is 20 ms behind, max-lag is 19 ms",
            ),
            (
                MoveOptions { max_threads: 3, ..options.clone() },
                "max-threads",
                "b executes 4 threads, max-threads is 3",
            ),
            (
                MoveOptions { max_history: 699, ..options.clone() },
                "max-history",
                "b has a history list of 700, max-history is 699",
            ),
            (
                MoveOptions { max_leader_p99_ms: 79, ..options.clone() },
                "max-leader-p99",
                "leader l2: database reads take 80 ms (p99), max-leader-p99 is 79 ms",
            ),
        ] {
            assert_eq!(calm().veto(&limits), Some(Veto { input, reason: reason.to_owned() }));
            // A cutover is short: load alone is no reason to wait with it.
            let waits = matches!(input, "max-lag" | "max-threads");
            assert_eq!(calm().veto_of_cutover(&limits).is_some(), waits, "{input}");
        }
        let unasked = MoveOptions { max_leader_p99_ms: 0, ..options.clone() };
        assert_eq!(calm().veto(&unasked), None, "0: not looked at");
        let away = Reading { threads: vec![("a".to_owned(), None)], ..calm() };
        assert_eq!(away.veto(&options).unwrap().reason, "a does not answer");
        let away = Reading { lags: vec![("r1".to_owned(), None)], ..calm() };
        assert_eq!(away.veto(&options).unwrap().input, "max-lag");
    }
}
