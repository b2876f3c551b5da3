//! The network between everything: delays, losses, partitions, stopped processes, and the lives of those at its ends.
//!
//! All chance of a run comes from here, so that it comes from one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::trace::Trace;

/// Something that sends and receives: a node, a database server, or the users of a region.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct End(pub u16);

/// A process at an end. After a crash there is another one.
#[derive(Clone)]
pub struct Process {
    /// Where it is.
    pub end: End,
    /// Cancelled when it is dead: nothing that it does reaches anybody any more, and nothing reaches it.
    pub dead: CancellationToken,
}

/// Why nothing came of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lost {
    /// Nobody listens there: certainly not delivered.
    Refused,
    /// The connection broke, or an answer never came.
    Broken,
    /// Nothing came until the deadline.
    Silence,
}

/// How far apart things are, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Distances {
    /// Within a region, at most.
    pub near_ms: u64,
    /// Between regions, at least; as much again at most.
    pub far_ms: u64,
}

/// The network. Clones are the same one.
#[derive(Clone)]
pub struct Network(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Something was cut, mended, stopped or continued.
    changed: Notify,
    distances: Distances,
    trace: Trace,
}

struct State {
    random: StdRng,
    ends: Vec<EndState>,
    /// One way each.
    cut: BTreeSet<(End, End)>,
    /// Probability of a loss, one way each.
    lossy: BTreeMap<(End, End), f64>,
    /// Delays are so many times longer, one way each.
    slow: BTreeMap<(End, End), u32>,
    /// Cancelled when the streams between two ends break.
    streams: BTreeMap<(End, End), CancellationToken>,
    /// Change streams: who opened them, at whom, and how many.
    open: BTreeMap<(End, End), usize>,
}

/// A change stream, for as long as it is there.
pub struct OpenStream {
    network: Network,
    way: (End, End),
}

struct EndState {
    name: String,
    region: u16,
    process: Option<CancellationToken>,
    /// Neither hears nor is heard (SIGSTOP); whoever stopped it counts.
    stopped: u32,
}

impl Network {
    /// A network without ends.
    pub fn new(seed: u64, distances: Distances, trace: Trace) -> Self {
        let state = State {
            random: StdRng::seed_from_u64(seed),
            ends: Vec::new(),
            cut: BTreeSet::new(),
            lossy: BTreeMap::new(),
            slow: BTreeMap::new(),
            streams: BTreeMap::new(),
            open: BTreeMap::new(),
        };
        Self(Arc::new(Inner { state: Mutex::new(state), changed: Notify::new(), distances, trace }))
    }

    /// Another end, with nobody there yet.
    pub fn add(&self, name: &str, region: u16) -> End {
        let mut state = self.0.state.lock();
        let end = EndState { name: name.to_owned(), region, process: None, stopped: 0 };
        state.ends.push(end);
        End((state.ends.len() - 1) as u16)
    }

    /// A process comes to life at an end.
    pub fn start(&self, end: End) -> Process {
        let dead = CancellationToken::new();
        self.0.state.lock().ends[usize::from(end.0)].process = Some(dead.clone());
        Process { end, dead }
    }

    /// Kills the process at an end; it may be none.
    pub fn kill(&self, end: End) {
        let process = self.0.state.lock().ends[usize::from(end.0)].process.take();
        if let Some(dead) = process {
            dead.cancel();
        }
    }

    /// The trace.
    pub fn trace(&self) -> &Trace {
        &self.0.trace
    }

    /// The name of an end.
    pub fn name(&self, end: End) -> String {
        self.0.state.lock().ends[usize::from(end.0)].name.clone()
    }

    /// Draws from the run's chance.
    pub fn draw<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        draw(&mut self.0.state.lock().random)
    }

    /// Cuts one way, or mends it.
    pub fn cut(&self, from: End, to: End, cut: bool) {
        let mut state = self.0.state.lock();
        let _ = if cut { state.cut.insert((from, to)) } else { state.cut.remove(&(from, to)) };
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// Makes one way lose messages with a probability; zero: none.
    pub fn lossy(&self, from: End, to: End, probability: f64) {
        self.0.state.lock().lossy.insert((from, to), probability);
    }

    /// Makes one way so many times slower.
    pub fn slow(&self, from: End, to: End, times: u32) {
        self.0.state.lock().slow.insert((from, to), times.max(1));
    }

    /// Stops an end, or lets it go on: it neither hears nor is heard, and its clock goes on.
    pub fn stop(&self, end: End, stop: bool) {
        let mut state = self.0.state.lock();
        let stopped = &mut state.ends[usize::from(end.0)].stopped;
        *stopped = if stop { *stopped + 1 } else { stopped.saturating_sub(1) };
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// Breaks the streams between two ends.
    pub fn break_streams(&self, one: End, two: End) {
        let broken = self.0.state.lock().streams.remove(&ordered(one, two));
        if let Some(token) = broken {
            token.cancel();
        }
    }

    /// Everything is as it should be, but for those who are dead.
    pub fn heal(&self) {
        let mut state = self.0.state.lock();
        state.cut.clear();
        state.lossy.clear();
        state.slow.clear();
        for end in &mut state.ends {
            end.stopped = 0;
        }
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// Cancelled when the streams between two ends break.
    pub fn streams(&self, one: End, two: End) -> CancellationToken {
        self.0.state.lock().streams.entry(ordered(one, two)).or_default().clone()
    }

    /// Notes a change stream that `near` has opened at `far`.
    pub fn opened(&self, near: End, far: End) -> OpenStream {
        *self.0.state.lock().open.entry((near, far)).or_default() += 1;
        OpenStream { network: self.clone(), way: (near, far) }
    }

    /// Between whom there is a change stream: who opened it, and at whom.
    pub fn open_streams(&self) -> Vec<(End, End)> {
        let state = self.0.state.lock();
        state.open.iter().filter(|(_, streams)| **streams > 0).map(|(way, _)| *way).collect()
    }

    /// The process at an end.
    pub fn process(&self, end: End) -> Option<Process> {
        let dead = self.0.state.lock().ends[usize::from(end.0)].process.clone()?;
        Some(Process { end, dead })
    }

    /// How long a message takes from here to there.
    pub fn delay(&self, from: End, to: End) -> Duration {
        let mut state = self.0.state.lock();
        let same = state.ends[usize::from(from.0)].region == state.ends[usize::from(to.0)].region;
        let Distances { near_ms, far_ms } = self.0.distances;
        let base = if same {
            state.random.random_range(0..=near_ms)
        } else {
            state.random.random_range(far_ms..=far_ms * 2)
        };
        // Now and then one takes much longer than those that were sent after it.
        let late = if state.random.random_bool(0.01) { state.random.random_range(1..=80) } else { 0 };
        let times = state.slow.get(&(from, to)).copied().unwrap_or(1);
        Duration::from_millis((base + late) * u64::from(times))
    }

    /// Whether a message would get through now; stopped ends are waited for, not lost.
    fn is_open(&self, from: End, to: End) -> bool {
        let state = self.0.state.lock();
        !state.cut.contains(&(from, to))
    }

    fn is_running(&self, from: End, to: End) -> bool {
        let state = self.0.state.lock();
        [from, to].iter().all(|end| state.ends[usize::from(end.0)].stopped == 0)
    }

    /// Waits until neither end is stopped.
    pub async fn running(&self, from: End, to: End) {
        self.until(|| self.is_running(from, to)).await;
    }

    async fn until(&self, holds: impl Fn() -> bool) {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if holds() {
                return;
            }
            changed.await;
        }
    }

    /// A stream's way: what is cut for a while is held and comes later, as TCP does it; cut for longer than `patience`, the
    /// stream is broken.
    pub async fn passable(&self, from: End, to: End, patience: Duration) -> Result<(), Lost> {
        let open = self.until(|| self.is_open(from, to) && self.is_running(from, to));
        timeout(patience, open).await.map_err(|_| Lost::Broken)
    }

    /// Carries one message; the receiver is there when this returns.
    async fn carry(&self, from: End, to: End) -> Result<(), Lost> {
        let (delay, unlucky) = (self.delay(from, to), self.is_unlucky(from, to));
        let open = self.is_open(from, to);
        if !delay.is_zero() {
            sleep(delay).await;
        }
        self.running(from, to).await;
        if unlucky || !open || !self.is_open(from, to) { Err(Lost::Broken) } else { Ok(()) }
    }

    fn is_unlucky(&self, from: End, to: End) -> bool {
        let mut state = self.0.state.lock();
        let probability = state.lossy.get(&(from, to)).copied().unwrap_or(0.0);
        probability > 0.0 && state.random.random_bool(probability)
    }

    /// What a caller comes to know of a message that was lost: at once, after a while, or at the deadline.
    async fn learn(&self, lost: Lost, deadline: Instant) -> Lost {
        let (quick, pause) = self.draw(|random| (random.random_bool(0.5), random.random_range(0..400)));
        let now = Instant::now();
        if lost == Lost::Refused || quick {
            sleep_until(deadline.min(now + Duration::from_millis(pause))).await;
            return lost;
        }
        sleep_until(deadline).await;
        Lost::Silence
    }

    /// A call: a request there, work, a reply back. The work goes on when the caller goes away or its reply is lost; it
    /// ends with the process that does it. What the dead call, nobody hears, and they hear of nothing.
    pub async fn call<T, W, F>(
        &self,
        caller: &Process,
        to: End,
        deadline: Instant,
        what: &'static str,
        work: W,
    ) -> Result<T, Lost>
    where
        T: Send + 'static,
        W: FnOnce() -> F + Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        if caller.dead.is_cancelled() {
            return std::future::pending().await;
        }
        let (this, from) = (self.clone(), caller.end);
        let under_way = tokio::spawn(async move {
            this.0.trace.event(what, &[from.0.into(), to.0.into()], || this.arrow(from, to));
            this.carry(from, to).await?;
            let process = this.process(to).ok_or(Lost::Refused)?;
            let work = async {
                let done = work().await;
                this.0.trace.event("reply", &[to.0.into(), from.0.into()], || this.arrow(to, from));
                this.carry(to, from).await.map(|()| done)
            };
            tokio::select! {
                biased;
                () = process.dead.cancelled() => Err(Lost::Broken),
                done = work => done,
            }
        });
        // A panic of the work is a finding of its own; the caller sees a broken connection.
        let result = tokio::select! {
            biased;
            () = caller.dead.cancelled() => std::future::pending().await,
            result = under_way => result.unwrap_or(Err(Lost::Broken)),
        };
        match result {
            Ok(done) => Ok(done),
            Err(lost) => Err(self.learn(lost, deadline).await),
        }
    }

    fn arrow(&self, from: End, to: End) -> String {
        format!("{} -> {}", self.name(from), self.name(to))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        if let Some(streams) = self.network.0.state.lock().open.get_mut(&self.way) {
            *streams -= 1;
        }
    }
}

fn ordered(one: End, two: End) -> (End, End) {
    if one < two { (one, two) } else { (two, one) }
}
