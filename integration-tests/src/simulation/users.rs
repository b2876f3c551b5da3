//! Users: each has a session, calls the followers of a region as the client library does, and notes what it was told.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tao_schema::ids::{Position, RequestId};
use tao_schema::ops::{Demand, Freshness, ReadReply, ReadRequest, WriteReply, WriteRequest};
use tao_schema::session::{GroupTime, Place, Session};
use tao_schema::{Error, ErrorCode, Result};
use tokio::time::{Instant, sleep, timeout_at};

use super::network::{End, Process};
use super::peers::lost_call;
use super::trace::digest;
use super::work::Work;
use super::world::World;
use crate::history::{Call, Operation, Reply, SessionId};

/// A call takes at most this, retries included.
const TIMEOUT: Duration = Duration::from_secs(4);
/// One attempt takes at most this.
const ATTEMPT: Duration = Duration::from_millis(1_500);
/// Attempts of one call.
const ATTEMPTS: u32 = 4;

/// What users did, in the order of the ends.
pub type Notes = Arc<Mutex<Vec<Operation>>>;

/// One user.
pub struct User {
    world: Arc<World>,
    notes: Notes,
    number: u32,
    region: u16,
    process: Process,
    random: StdRng,
    session: Session,
    /// Has no session: what is shown without a token is seen, too.
    careless: bool,
    calls: u64,
}

impl User {
    /// A user in a region.
    pub fn new(world: &Arc<World>, notes: &Notes, number: u32, region: u16) -> Self {
        let end = world.user_ends[usize::from(region)];
        Self {
            world: Arc::clone(world),
            notes: Arc::clone(notes),
            number,
            region,
            process: world.network.process(end).expect("users live as long as the run"),
            random: StdRng::seed_from_u64(world.plan.seed.rotate_left(17) ^ u64::from(number)),
            session: Session::new(),
            careless: number % 4 == 3 || number >= 1_000,
            calls: 0,
        }
    }

    /// Works until the time is over.
    pub async fn work(mut self, until: Instant) {
        let work = Work::new(&self.world.plan);
        while Instant::now() < until {
            let think = self.random.random_range(1..=self.world.plan.think.as_millis().max(1) as u64);
            sleep(Duration::from_millis(think)).await;
            if self.random.random_bool(0.02) {
                self.travel();
            }
            if self.random.random_bool(0.35) {
                let id = self.operation_id();
                let ops = work.write(&mut self.random, id);
                self.write(ops).await;
            } else {
                let op = work.read(&mut self.random);
                let demand = self.demand(op.shard());
                self.read(ReadRequest { demand, ..ReadRequest::local(op) }).await;
            }
        }
    }

    /// Reads everything once without any demand, when all is quiet: what is shown then is what is compared.
    pub async fn look_at_everything(mut self, followers: &[End]) {
        let work = Work::new(&self.world.plan);
        for follower in followers {
            for op in work.everything() {
                let request = ReadRequest::local(op);
                let (start, begun) = (self.world.clock.now(), Instant::now());
                let result = self.ask(*follower, request.clone(), begun + TIMEOUT).await;
                self.note(*follower, start, Call::Read(request), result.map(Reply::Read));
            }
        }
    }

    /// Unique in the run, and the same in every run of the seed.
    fn operation_id(&self) -> u64 {
        (u64::from(self.number) << 32) | (self.calls + 1)
    }

    fn session_id(&self) -> SessionId {
        if self.careless { SessionId::NONE } else { SessionId(self.number) }
    }

    fn travel(&mut self) {
        let regions = self.world.user_ends.len() as u16;
        self.region = self.random.random_range(0..regions);
        let end = self.world.user_ends[usize::from(self.region)];
        if let Some(process) = self.world.network.process(end) {
            self.process = process;
        }
    }

    fn demand(&mut self, shard: tao_schema::ids::ShardId) -> Demand {
        let place = self.place(shard);
        let mut demand = if self.careless { Demand::local() } else { self.session.demand(shard, place) };
        demand.freshness = match self.random.random_range(0..100) {
            0..70 => Freshness::Any,
            70..85 => Freshness::Within(Duration::from_millis(self.random.random_range(50..3_000))),
            85..92 => Freshness::Master,
            _ => Freshness::Critical,
        };
        demand
    }

    fn place(&self, shard: tao_schema::ids::ShardId) -> Option<Place> {
        let place = self.world.topology().assignment(shard)?;
        Some(Place { group: place.host_group, epoch: place.epoch })
    }

    async fn read(&mut self, request: ReadRequest) {
        let (start, begun) = (self.world.clock.now(), Instant::now());
        let deadline = begun + TIMEOUT;
        let (mut last, mut at) = (None, self.process.end);
        for attempt in 0..ATTEMPTS {
            let Some(follower) = self.choose(attempt) else { break };
            at = follower;
            let until = deadline.min(Instant::now() + ATTEMPT);
            let result = self.ask(follower, request.clone(), until).await;
            let again = matches!(&result, Err(error) if error.retryable());
            last = Some(result);
            if !again || Instant::now() >= deadline {
                break;
            }
            sleep(Duration::from_millis(self.random.random_range(0..20 << attempt))).await;
        }
        let result = last.unwrap_or_else(|| Err(Error::unavailable("no follower")));
        match &result {
            Ok(reply) => {
                self.session.proved(&request.demand, reply.position);
                self.observe(reply.position, reply.time);
            }
            // The user was told that something is lost.
            Err(error) if error.code == ErrorCode::LostEpoch => self.session.forget(request.op.shard()),
            Err(_) => {}
        }
        self.note(at, start, Call::Read(request), result.map(Reply::Read));
    }

    async fn write(&mut self, ops: Vec<tao_schema::ops::WriteOp>) {
        let (start, begun) = (self.world.clock.now(), Instant::now());
        let deadline = begun + TIMEOUT;
        let id = RequestId(u128::from(self.world.plan.seed) << 64 | u128::from(self.operation_id()));
        let first = WriteRequest { id, age: Duration::ZERO, ops, forwarded: false };
        let (mut last, mut unknown, mut at) = (None, false, self.process.end);
        for attempt in 0..ATTEMPTS {
            let Some(follower) = self.choose(attempt) else { break };
            at = follower;
            let until = deadline.min(Instant::now() + ATTEMPT);
            let age =
                if attempt == 0 { Duration::ZERO } else { begun.elapsed().max(Duration::from_millis(1)) };
            let result = self.send(follower, WriteRequest { age, ..first.clone() }, until).await;
            let code = result.as_ref().err().map(|error| error.code);
            unknown |= code == Some(ErrorCode::OutcomeUnknown);
            // A refusal after an attempt of unknown outcome says nothing of that one (R4).
            let again = code.is_some_and(|code| code.retryable());
            last = Some(result);
            if !again || Instant::now() >= deadline {
                break;
            }
            sleep(Duration::from_millis(self.random.random_range(0..20 << attempt))).await;
        }
        let result = last.unwrap_or_else(|| Err(Error::unavailable("no follower")));
        let result = result.map_err(|error| match unknown {
            true => Error::new(ErrorCode::OutcomeUnknown, error.message),
            false => error,
        });
        if let Ok(reply) = &result {
            for position in &reply.positions {
                let own = reply.positions.first().is_some_and(|first| first.shard == position.shard);
                self.observe(*position, reply.time.filter(|_| own));
            }
        }
        self.note(at, start, Call::Write(first), result.map(Reply::Write));
    }

    fn observe(&mut self, position: Position, time: Option<tao_schema::ids::PrimaryTime>) {
        let now = self.world.network.trace().elapsed();
        let group = self.place(position.shard).map(|place| place.group);
        let time = group.zip(time).map(|(group, time)| GroupTime { group, time });
        self.session.observe_at(position, time, Duration::from_secs(1_000_000) + now);
    }

    /// A follower of the region, another one for each attempt.
    fn choose(&self, attempt: u32) -> Option<End> {
        let here = |(region, _): &&(u16, End)| *region == self.region;
        let ends: Vec<End> = self.world.follower_ends.iter().filter(here).map(|(_, end)| *end).collect();
        let at = (u64::from(self.number) + u64::from(attempt)) as usize % ends.len().max(1);
        ends.get(at).copied()
    }

    async fn ask(&self, follower: End, request: ReadRequest, until: Instant) -> Result<ReadReply> {
        let world = Arc::clone(&self.world);
        let work = async move || {
            let Some(handle) = world.follower(follower) else {
                return Err(Error::unavailable("nobody listens there"));
            };
            match handle.try_read(&request) {
                Some(answer) => answer,
                None => handle.read(request, until).await,
            }
        };
        self.call(follower, until, "get", false, work).await
    }

    async fn send(&self, follower: End, request: WriteRequest, until: Instant) -> Result<WriteReply> {
        let world = Arc::clone(&self.world);
        let work = async move || match world.follower(follower) {
            Some(handle) => handle.write(request, until).await,
            None => Err(Error::unavailable("nobody listens there")),
        };
        self.call(follower, until, "put", true, work).await
    }

    async fn call<T: Send + 'static, F>(
        &self,
        follower: End,
        until: Instant,
        what: &'static str,
        is_write: bool,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let call = self.world.network.call(&self.process, follower, until, what, work);
        let name = self.world.network.name(follower);
        // A node may answer a little late; then nobody listens any more.
        match timeout_at(until, call).await {
            Ok(Ok(result)) => result,
            Ok(Err(lost)) => Err(lost_call(lost, is_write, &name)),
            Err(_) => Err(lost_call(super::network::Lost::Silence, is_write, &name)),
        }
    }

    fn note(&mut self, at: End, start: Duration, call: Call, result: Result<Reply>) {
        let (id, trace) = (self.operation_id(), self.world.network.trace());
        self.calls += 1;
        let place = self.world.network.name(at);
        let why = result.as_ref().err().map(|error| format!(": {}", error.message)).unwrap_or_default();
        let operation = Operation {
            id,
            session: self.session_id(),
            place,
            start,
            end: self.world.clock.now(),
            call,
            result: result.map_err(|error| error.code),
        };
        let text = format!("{:?} -> {:?}", operation.call, operation.result);
        trace.event("done", &[id, digest(&text)], || {
            format!("user {} at {}: {text}{why}", operation.session.0, operation.place)
        });
        self.notes.lock().push(operation);
    }
}
