//! How long a hit takes in each cache engine, alone, through a shard, and of many keys that are touched first; and how many
//! bytes an edge takes.
//!
//! `cargo run --release -p tao-leader-follower --example engine_get`
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::Instant;

use tao_leader_follower::core::{Body, CoreOptions, Entry, Key, Lookup, SharedShard};
use tao_leader_follower::engine::{EngineKind, EngineOptions, open};
use tao_schema::edges::PackedEdgesBuilder;
use tao_schema::ids::{AssocType, Epoch, ListKey, ObjectId, Position, Seq, ShardId, Time};
use tao_schema::rows::{ListRow, ShardState};

/// Far more than the processor's caches hold.
const KEYS: u64 = 1_000_000;
/// As the server does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const GETS: u64 = 5_000_000;
const SHARD: ShardId = ShardId(1);

fn main() {
    for kind in [EngineKind::S3Fifo, EngineKind::Quick] {
        hits(kind);
        for edges in [10, 1_000] {
            bytes_per_edge(kind, edges);
        }
    }
}

fn key(i: u64) -> Key {
    Key::List(ListKey { id1: ObjectId::new(SHARD, i), atype: AssocType(1) })
}

fn list(edges: u64) -> ListRow {
    let mut packed = PackedEdgesBuilder::with_capacity(edges as usize);
    for i in (0..edges).rev() {
        packed.push(ObjectId(i), Time(i as u32), b"");
    }
    ListRow { count: edges, version: Seq(1), edges: packed.finish() }
}

fn hits(kind: EngineKind) {
    let engine = open(kind, EngineOptions { capacity_bytes: 1 << 30, usual_entry_bytes: 256 });
    let shard = SharedShard::new(SHARD, CoreOptions::default());
    let position = Position { shard: SHARD, epoch: Epoch(1), seq: Seq(1) };
    shard.with(|core| core.open(position)).expect("a new core goes to any position");
    for i in 0..KEYS {
        let body = Body::List(list(10));
        shard.with(|core| core.on_fill(key(i), position, ShardState::Serving, body, &*engine));
    }
    let time = |what: &str, get: &dyn Fn(u64) -> bool| {
        let start = Instant::now();
        let mut hits = 0u64;
        let mut i = 0u64;
        for _ in 0..GETS {
            // A step of full period through all keys, by chance enough (Hull and Dobell).
            i = (i * 21 + 12_347) % KEYS;
            hits += u64::from(get(black_box(i)));
        }
        let each = start.elapsed().as_nanos() as f64 / GETS as f64;
        println!("{kind:?}: {what}: {each:.1} ns, {:.1} % hits", hits as f64 * 100.0 / GETS as f64);
    };
    for together in [4, 16, 64] {
        let mut pending = Vec::new();
        let start = Instant::now();
        let (mut i, mut hits) = (0u64, 0u64);
        for _ in 0..GETS {
            i = (i * 21 + 12_347) % KEYS;
            pending.push(key(i));
            if pending.len() == together {
                engine.touch(&pending);
                hits += pending.drain(..).filter(|key| engine.get(key).is_some()).count() as u64;
            }
        }
        let each = start.elapsed().as_nanos() as f64 / GETS as f64;
        let share = hits as f64 * 100.0 / GETS as f64;
        println!("{kind:?}: {together} touched, then each: {each:.1} ns, {share:.1} % hits");
    }
    time("engine get", &|i| engine.get(&key(i)).is_some());
    time("shard lookup", &|i| matches!(shard.lookup(&*engine, &key(i), None), Lookup::Hit { .. }));
}

fn bytes_per_edge(kind: EngineKind, edges: u64) {
    let engine = open(kind, EngineOptions { capacity_bytes: 1 << 30, usual_entry_bytes: 256 });
    let lists = 1_000_000 / edges;
    let before = resident();
    for i in 0..lists {
        let body = Body::List(list(edges));
        engine.put(key(i), Entry::new(0, Seq(1), &body));
    }
    let stats = engine.stats();
    let counted = stats.bytes as f64 / (stats.entries * edges) as f64;
    let real = resident().saturating_sub(before) as f64 / (stats.entries * edges) as f64;
    println!("{kind:?}: lists of {edges} edges: {counted:.1} bytes an edge counted, {real:.1} resident");
}

/// Resident bytes of this process; zero where /proc does not tell.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()));
    pages.unwrap_or(0) * 4096
}
