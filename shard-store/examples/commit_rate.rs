//! How fast the MySQL engine commits batches of edge puts, and where the time goes.
//!
//! `cargo run --release -p tao-shard-store --example commit_rate [SECONDS] [mysql://user:password@host:port]`
//!
//! Without an address: private servers of every kind found on this machine, with durable settings. Each line is one
//! writer lane that always has a full batch: edges of 50 bytes over 16 shards, random ends, the same lists again and
//! again. Then the same with two lanes of 8 shards each.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::time::{Duration, Instant};

use tao_schema::fields::EncodedFields;
use tao_schema::ids::{AssocType, EdgeKey, Epoch, ObjectId, RequestId, ShardId, Time};
use tao_schema::rows::EdgeValue;
use tao_shard_store::ShardStore;
use tao_shard_store::fleet::{Fleet, FleetOptions, test_servers};
use tao_shard_store::mysql::{MySqlStore, Options};
use tao_shard_store::write::{Batch, RequestKey, StoreOp, UnitResult, WriteUnit};

const EPOCH: Epoch = Epoch(1);
const SHARDS: u16 = 16;
const DATA: &[u8] = &[b'x'; 50];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let seconds = args.next().map_or(Ok(2.0), |text| text.parse())?;
    let time = Duration::from_secs_f64(seconds);
    if let Some(dsn) = args.next() {
        return measure(&dsn, time).await;
    }
    for binary in test_servers()? {
        let fleet = Fleet::start(FleetOptions::new(binary, 1)).await?;
        measure(&fleet.servers()[0].dsn().expose(), time).await?;
        fleet.stop().await;
    }
    Ok(())
}

async fn measure(dsn: &str, time: Duration) -> Result<(), Box<dyn Error>> {
    let options = Options { database: format!("commit_rate_{}", std::process::id()), ..Options::default() };
    let store = MySqlStore::open(dsn, options).await?;
    let shards: Vec<_> = (0..SHARDS).map(ShardId).collect();
    store.create_shards(&shards, EPOCH).await?;
    println!("{}", store.describe());
    println!("lanes  batch    ops/s   batch ms =   lock   read   plan  write commit");
    for lanes in [1, 2] {
        for size in [1, 16, 128, 512] {
            let before = store.phase_times();
            let start = Instant::now();
            let running = (0..lanes).map(|lane| {
                let store = store.clone();
                let of_lane = (lane * SHARDS / lanes)..((lane + 1) * SHARDS / lanes);
                tokio::spawn(async move { lane_of(&store, of_lane, size, time).await })
            });
            let mut ops = 0;
            for lane in running.collect::<Vec<_>>() {
                ops += lane.await??;
            }
            let rate = ops as f64 / start.elapsed().as_secs_f64();
            let after = store.phase_times();
            let batches = (after.transactions - before.transactions) as f64;
            let ms = |after: Duration, before: Duration| (after - before).as_secs_f64() * 1e3 / batches;
            let phases = [
                ms(after.lock, before.lock),
                ms(after.read, before.read),
                ms(after.plan, before.plan),
                ms(after.write, before.write),
                ms(after.commit, before.commit),
            ];
            let whole: f64 = phases.iter().sum();
            let [lock, read, plan, write, commit] = phases;
            println!(
                "{lanes:5} {size:6} {rate:8.0} {whole:10.2}   {lock:6.2} {read:6.2} {plan:6.2} {write:6.2} {commit:6.2}"
            );
        }
    }
    Ok(())
}

/// One lane with a batch always ready; answers how many operations were done.
async fn lane_of(
    store: &MySqlStore,
    shards: std::ops::Range<u16>,
    size: usize,
    time: Duration,
) -> Result<u64, String> {
    let start = Instant::now();
    let mut ops = 0;
    while start.elapsed() < time {
        let units = shards.clone().cycle().take(size).map(unit).collect();
        let result = store.commit(Batch { units }).await.map_err(|error| error.to_string())?;
        if let Some(other) = result.units.iter().find(|unit| !matches!(unit, UnitResult::Done(_))) {
            return Err(format!("a unit was not done: {other:?}"));
        }
        ops += size as u64;
    }
    Ok(ops)
}

fn unit(shard: u16) -> WriteUnit {
    let shard = ShardId(shard);
    let edge = EdgeKey {
        id1: ObjectId::new(shard, rand::random_range(0..1_000)),
        atype: AssocType(1),
        id2: ObjectId(rand::random()),
    };
    let value = EdgeValue { time: Time(rand::random()), fields: EncodedFields(DATA.into()) };
    let op = StoreOp::EdgePut { edge, value, create_only: false, expected: None, inverse: None };
    let request = Some(RequestKey { id: RequestId(rand::random()), age: Duration::ZERO });
    WriteUnit { shard, epoch: EPOCH, request, ops: vec![op] }
}
