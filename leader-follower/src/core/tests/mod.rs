//! Tests of the core. [`script`] runs histories written as text, one for each rule and hole; [`history`] runs random
//! ones against a log that knows the truth; [`threads`] reads while another thread writes.

mod answers;
mod epochs;
mod history;
mod lists;
mod log;
mod rules;
mod script;
mod serving;
mod tailed;
mod threads;

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tao_schema::ids::{AssocType, Epoch, ListKey, ObjectId, Position, Seq, ShardId};

use super::rules::{Rule, Rules};
use super::{CoreOptions, Entries, Entry, Key};

const SHARD: ShardId = ShardId(1);
/// The object of all tests.
const OBJECT: Key = Key::Object(ObjectId::new(SHARD, 1));
/// The list of all tests.
const LIST: Key = Key::List(LIST_KEY);
const LIST_KEY: ListKey = ListKey { id1: ObjectId::new(SHARD, 1), atype: AssocType(1) };

/// Entries that nobody evicts but the test.
#[derive(Default)]
struct MapEntries(Mutex<BTreeMap<Key, Entry>>);

impl Entries for MapEntries {
    fn get(&self, key: &Key) -> Option<Entry> {
        self.0.lock().get(key).cloned()
    }

    fn put(&self, key: Key, entry: Entry) {
        self.0.lock().insert(key, entry);
    }

    fn remove(&self, key: &Key) {
        self.0.lock().remove(key);
    }
}

/// Small bounds, so that they are met.
fn options(without: Option<Rule>) -> CoreOptions {
    CoreOptions {
        ring_changes: 3,
        ring_bytes: 1 << 20,
        max_floors: 1,
        max_waiting: 2,
        max_list_edges: 3,
        max_list_bytes: 1 << 20,
        rules: without.map_or_else(Rules::default, Rules::without),
    }
}

fn at(epoch: u32, seq: u64) -> Position {
    Position { shard: SHARD, epoch: Epoch(epoch), seq: Seq(seq) }
}
