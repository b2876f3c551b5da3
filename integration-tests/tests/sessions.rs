//! Users read their own writes and never go back, whatever dies beside them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use integration_tests::{Region, RegionOptions, run_tao};
use tao_client::{Error, ErrorCode, SessionClient};
use tao_schema::ids::{ObjectId, ObjectType, Seq};
use tao_shard_store::fleet;

const SHARDS: u32 = 16;
const USERS: u32 = 12;
/// Everybody's friend: a list that all sessions write.
const HUB: u32 = 900;
/// A call outlives the restart of a node.
const PATIENCE: Duration = Duration::from_secs(20);

fn user(number: u32) -> ObjectId {
    ObjectId::named(ObjectType(1), number, SHARDS)
}

/// What a session has seen, and what it has found wrong.
struct Witness {
    session: SessionClient,
    versions: HashMap<(&'static str, ObjectId), Seq>,
    violations: Vec<String>,
    reads: u64,
    writes: u64,
    /// Writes of which nobody knows whether they happened.
    unknown: u64,
}

impl Witness {
    fn new(session: SessionClient) -> Self {
        Self { session, versions: HashMap::new(), violations: Vec::new(), reads: 0, writes: 0, unknown: 0 }
    }

    /// A version that was read: none that falls.
    fn saw(&mut self, what: &'static str, id: ObjectId, version: Seq) {
        self.reads += 1;
        let highest = self.versions.entry((what, id)).or_insert(version);
        if version < *highest {
            self.violations.push(format!("the version of {what} {id} fell from {highest} to {version}"));
        }
        *highest = version.max(*highest);
    }

    fn expect<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, found: T, wanted: T) {
        if found != wanted {
            self.violations.push(format!("{what}: found {found:?}, wanted {wanted:?}"));
        }
    }

    /// Whether a write is certain to have happened.
    fn wrote<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        match result {
            Ok(written) => {
                self.writes += 1;
                Some(written)
            }
            Err(error) if error.code == ErrorCode::OutcomeUnknown => {
                self.unknown += 1;
                None
            }
            Err(error) => {
                assert!(error.retryable(), "{error}");
                None
            }
        }
    }

    /// A new object, written twice and read after each. Whether it is there for certain.
    async fn object(&mut self, id: ObjectId) -> bool {
        let session = self.session.clone();
        for (name, new) in [("Ann", true), ("Bob", false)] {
            let written = if new {
                let call = session.object_add("user").id(id).set("name", name).timeout(PATIENCE);
                call.send().await.map(|_| ())
            } else {
                let call = session.object_update(id, "user").set("name", name).timeout(PATIENCE);
                call.send().await.map(|_| ())
            };
            if self.wrote(written).is_none() {
                return false;
            }
            match session.object_get(id).timeout(PATIENCE).send().await.unwrap() {
                Some(object) => {
                    self.saw("object", id, object.version);
                    self.expect("own name", object.text("name").unwrap(), name);
                }
                None => self.violations.push(format!("own object {id} is absent")),
            }
        }
        true
    }

    /// Reads both lists of a friendship after a write of it: `there` or not.
    async fn friendship(&mut self, from: ObjectId, to: ObjectId, there: bool) {
        let session = self.session.clone();
        for (id1, id2) in [(from, to), (to, from)] {
            let found = session.assoc_get(id1, "friend", [id2]).timeout(PATIENCE).send().await.unwrap();
            self.saw("list", id1, found.version);
            self.expect(&format!("edge {id1} to {id2}"), !found.is_empty(), there);
            let list =
                session.assoc_range(id1, "friend").limit(6_000).timeout(PATIENCE).send().await.unwrap();
            self.saw("list", id1, list.version);
            self.expect(&format!("list of {id1} has {id2}"), list.ids().any(|id| id == id2), there);
            let count = session.assoc_count(id1, "friend").timeout(PATIENCE).send().await.unwrap();
            self.saw("list", id1, count.version);
        }
    }

    async fn count(&mut self, id: ObjectId, wanted: Range<u64>) {
        let call = self.session.assoc_count(id, "friend").timeout(PATIENCE);
        let count = call.send().await.unwrap().count;
        if !wanted.contains(&count) {
            self.violations.push(format!("count of {id}: found {count}, wanted {wanted:?}"));
        }
    }
}

/// One user's session until told to stop. Each round makes a new object, and befriends it with the user, whose list
/// nobody else writes, and with everybody's friend.
async fn live(session: SessionClient, number: u32, stop: Arc<AtomicBool>) -> Witness {
    let mut witness = Witness::new(session.clone());
    let (me, hub) = (user(number), user(HUB));
    let (mut friends, mut doubtful) = (0, 0);
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let new = user(1_000 + round * USERS + number);
        if !witness.object(new).await {
            continue;
        }
        let call = session.assoc_add(me, "friend", new).time(round).timeout(PATIENCE).send().await;
        match witness.wrote(call) {
            // Of a pair whose other side is pending, the session has a position of one side only.
            Some(written) if !written.inverse_pending => {
                friends += 1;
                witness.friendship(me, new, true).await;
            }
            _ => doubtful += 1,
        }
        witness.count(me, friends..friends + doubtful + 1).await;
        let call = session.assoc_add(new, "friend", hub).time(round).timeout(PATIENCE).send().await;
        if witness.wrote(call).is_none_or(|written| written.inverse_pending) {
            continue;
        }
        witness.friendship(hub, new, true).await;
        if round % 3 == 2 {
            let call = session.assoc_delete(hub, "friend", new).timeout(PATIENCE).send().await;
            if witness.wrote(call).is_some_and(|written| !written.inverse_pending) {
                witness.friendship(new, hub, false).await;
            }
        }
    }
    witness
}

/// Sessions write and read at once, over two followers and two leaders, while a follower is killed and comes back with
/// nothing in memory.
#[tokio::test(flavor = "multi_thread")]
async fn users_read_their_own_writes() {
    let binary = fleet::test_servers().unwrap().remove(0);
    let options = RegionOptions { db_servers: 2, leaders: 2, followers: 2, shards: SHARDS };
    let mut region = Region::start(binary, &options).await.unwrap();
    let client = region.client().await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let users: Vec<_> =
        (0..USERS).map(|number| tokio::spawn(live(client.session(), number, Arc::clone(&stop)))).collect();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    region.kill_node("follower-1").unwrap();
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    region.start_node("follower-1").unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    stop.store(true, Ordering::Relaxed);
    let (mut reads, mut writes, mut unknown, mut violations) = (0, 0, 0, Vec::new());
    for user in users {
        let witness = user.await.unwrap();
        reads += witness.reads;
        writes += witness.writes;
        unknown += witness.unknown;
        violations.extend(witness.violations);
    }
    println!("{writes} writes, {unknown} unknown, {reads} reads, {} violations", violations.len());
    assert!(violations.is_empty(), "{violations:#?}");
    assert!(writes > 50 && reads > 200, "the run did too little to show anything");
    let (code, check, talk) = run_tao(&region.topology_file, &["check", "--deep"]).unwrap();
    assert_eq!((code, &check["difference_count"]), (0, &0.into()), "{check} {talk}");
}
