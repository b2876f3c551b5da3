//! What was there before the run.

use std::collections::BTreeMap;

use tao_schema::edges::Edge;
use tao_schema::ids::{EdgeKey, ListKey, ObjectId, Position, Seq, ShardId};
use tao_schema::rows::ObjectRow;
use tao_shard_store::StoreError;
use tao_shard_store::store::{ShardStore, Table};

/// Rows of one page.
const PAGE: usize = 1_000;
/// A shard that is written to while it is read is read again so often.
const TRIES: usize = 5;

/// The content of one shard at one position.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Seed {
    /// Objects that exist.
    pub objects: BTreeMap<ObjectId, ObjectRow>,
    /// Lists that were ever written.
    pub lists: BTreeMap<ListKey, SeedList>,
}

/// A list of a [`Seed`].
#[derive(Clone, Default, PartialEq, Debug)]
pub struct SeedList {
    /// Its count row.
    pub count: u64,
    /// Its version.
    pub version: Seq,
    /// All of its edges.
    pub edges: Vec<Edge>,
}

/// Reads a shard of a quiet server: all pages at one position. `None`: somebody kept writing.
///
/// # Errors
/// Those of the store.
pub async fn seed_of(
    store: &(impl ShardStore + ?Sized),
    shard: ShardId,
) -> Result<Option<(Position, Seed)>, StoreError> {
    for _ in 0..TRIES {
        if let Some(read) = read_once(store, shard).await? {
            return Ok(Some(read));
        }
    }
    Ok(None)
}

async fn read_once(
    store: &(impl ShardStore + ?Sized),
    shard: ShardId,
) -> Result<Option<(Position, Seed)>, StoreError> {
    let mut seed = Seed::default();
    let mut position = None;
    for table in [Table::Objects, Table::Counts, Table::Edges] {
        let mut after: Option<EdgeKey> = None;
        loop {
            let page = store.scan(shard, table, after, PAGE).await?;
            if *position.get_or_insert(page.position) != page.position {
                return Ok(None);
            }
            seed.objects.extend(page.objects);
            for (key, count, version) in page.counts {
                let list = seed.lists.entry(key).or_default();
                (list.count, list.version) = (count, version);
            }
            for (key, value, _, _) in page.edges {
                let edge = Edge { id2: key.id2, time: value.time, fields: value.fields };
                seed.lists.entry(key.list()).or_default().edges.push(edge);
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(position.map(|position| (position, seed)))
}
