//! What reads of the MySQL engine cost: time, and time of a processor on both sides, for each key.
//!
//! `cargo run --release -p tao-shard-store --example read_rate [SECONDS]`
//!
//! On private servers of every kind found on this machine. Each line is one caller that reads random keys over 16 shards, so
//! many in a call: objects of 200 bytes, edges that are not there, counts, and the newest edges of lists of 0, 10 and 64
//! with 20 bytes of data each.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs;
use std::time::{Duration, Instant};

use tao_schema::fields::EncodedFields;
use tao_schema::ids::{AssocType, EdgeKey, Epoch, ListKey, ObjectId, ObjectType, ShardId, Time};
use tao_schema::rows::EdgeValue;
use tao_shard_store::ShardStore;
use tao_shard_store::fleet::{Fleet, FleetOptions, test_servers};
use tao_shard_store::mysql::{MySqlStore, Options};
use tao_shard_store::store::ReadKey;
use tao_shard_store::write::{Batch, StoreOp, UnitResult, WriteUnit};

const EPOCH: Epoch = Epoch(1);
const SHARDS: u16 = 16;
/// Objects, and lists of each length, in a shard.
const EACH: u64 = 250;
const LENGTHS: [u64; 3] = [0, 10, 64];
/// As a follower asks for the head of a list.
const HEAD: u32 = 8_192;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(1.0), |text| text.parse())?;
    for binary in test_servers()? {
        let fleet = Fleet::start(FleetOptions::new(binary, 1)).await?;
        measure(&fleet, Duration::from_secs_f64(seconds)).await?;
        fleet.stop().await;
    }
    Ok(())
}

async fn measure(fleet: &Fleet, time: Duration) -> Result<(), Box<dyn Error>> {
    let server = &fleet.servers()[0];
    let pid = server.pid().ok_or("the server is none of this machine")?;
    let store = MySqlStore::open(&server.dsn().expose(), Options::default()).await?;
    let shards: Vec<_> = (0..SHARDS).map(ShardId).collect();
    store.create_shards(&shards, EPOCH).await?;
    for shard in &shards {
        fill(&store, *shard).await?;
    }
    println!("{}", store.describe());
    println!("what            keys    keys/s  us/key  of the server's processor  of this program's");
    let kinds: [Kind; 6] = [
        ("object", || ReadKey::Object(id(0))),
        ("absent edge", || ReadKey::Edge(EdgeKey { id1: id(2), atype: LIST, id2: id(0) })),
        ("count", || ReadKey::List { key: list(2), edges: 0 }),
        ("list of 0", || ReadKey::List { key: list(0), edges: HEAD }),
        ("list of 10", || ReadKey::List { key: list(1), edges: HEAD }),
        ("list of 64", || ReadKey::List { key: list(2), edges: HEAD }),
    ];
    for (name, draw) in kinds {
        for size in [1, 4, 16, 64] {
            let (began, server, own) = (Instant::now(), processor(pid)?, processor(std::process::id())?);
            let mut keys = 0;
            while began.elapsed() < time {
                let asked: Vec<_> = (0..size).map(|_| draw()).collect();
                for answer in store.read(&asked).await? {
                    answer?;
                }
                keys += size;
            }
            let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(keys);
            println!(
                "{name:12} {size:7} {:9.0} {:7.0} {:27.0} {:18.0}",
                f64::from(keys) / began.elapsed().as_secs_f64(),
                each(began.elapsed()),
                each(processor(pid)? - server),
                each(processor(std::process::id())? - own),
            );
        }
    }
    Ok(())
}

/// A name, and how to draw a key.
type Kind = (&'static str, fn() -> ReadKey);

const LIST: AssocType = AssocType(1);

/// One of a shard's objects, or the owner of a list of one of the lengths.
fn id(population: u64) -> ObjectId {
    ObjectId::new(ShardId(rand::random_range(0..SHARDS)), 1 + population * EACH + rand::random_range(0..EACH))
}

fn list(length: u64) -> ListKey {
    ListKey { id1: id(length), atype: LIST }
}

async fn fill(store: &MySqlStore, shard: ShardId) -> Result<(), Box<dyn Error>> {
    let mut ops = Vec::new();
    for (population, length) in (0_u64..).zip(LENGTHS) {
        for number in 0..EACH {
            let id = ObjectId::new(shard, 1 + population * EACH + number);
            if population == 0 {
                let fields = EncodedFields(vec![b'x'; 200].into());
                ops.push(StoreOp::ObjectAdd { id: Some(id), otype: ObjectType(1), fields });
            }
            for end in 0..length {
                let value =
                    EdgeValue { time: Time(end as u32), fields: EncodedFields(vec![b'x'; 20].into()) };
                let edge = EdgeKey { id1: id, atype: LIST, id2: ObjectId(rand::random()) };
                ops.push(StoreOp::EdgePut { edge, value, create_only: false, expected: None, inverse: None });
            }
        }
    }
    for ops in ops.chunks(256) {
        let unit = WriteUnit { shard, epoch: EPOCH, request: None, ops: ops.to_vec() };
        let result = store.commit(Batch { units: vec![unit] }).await?;
        if let Some(other) = result.units.iter().find(|unit| !matches!(unit, UnitResult::Done(_))) {
            return Err(format!("a unit was not done: {other:?}").into());
        }
    }
    Ok(())
}

/// Time of processors that a process has taken so far: fields 14 and 15 of its stat, in hundredths of a second.
fn processor(pid: u32) -> Result<Duration, Box<dyn Error>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, behind) = stat.rsplit_once(')').ok_or("no name in the process's stat")?;
    let mut ticks = 0;
    for field in behind.split_whitespace().skip(11).take(2) {
        ticks += field.parse::<u64>()?;
    }
    Ok(Duration::from_millis(10 * ticks))
}
