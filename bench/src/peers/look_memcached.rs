//! Look-aside memcached over MySQL: read the cache, on a miss the database, then fill the cache; on a write, write the database, then
//! delete what it makes wrong. Lists are one value each, newest edge first, with all edges; absence is cached as well. As usual
//! for look-aside caches, a fill that was read before a write and arrives after its deletion stays, stale.

use anyhow::Result;
use tao_schema::ids::{EdgeKey, ListKey, ObjectId};
use tao_schema::limits::MAX_QUERY_LIMIT;

use super::memcached::CacheKey;
use super::{Database, Memcached, Page, Store};
use crate::workloads::{EdgeData, Op};

/// One caller, with a connection to each.
pub struct LookMemcached {
    cache: Memcached,
    database: Database,
}

/// What a read needs of the cache.
fn key(op: &Op) -> Option<CacheKey> {
    Some(match op {
        Op::ObjectGet(id) => object_key(*id),
        Op::AssocGet(list, _) | Op::AssocRange(list, _) | Op::AssocTimeRange(list, ..) => list_key(*list),
        Op::AssocCount(list) => count_key(*list),
        _ => return None,
    })
}

fn object_key(id: ObjectId) -> CacheKey {
    CacheKey::new(b'o', id.0, 0)
}

fn list_key(list: ListKey) -> CacheKey {
    CacheKey::new(b'l', list.id1.0, list.atype.0)
}

fn count_key(list: ListKey) -> CacheKey {
    CacheKey::new(b'c', list.id1.0, list.atype.0)
}

impl LookMemcached {
    /// So many callers.
    ///
    /// # Errors
    /// A server does not answer.
    pub async fn callers(address: &str, databases: Vec<Database>) -> Result<Vec<Self>> {
        let mut callers = Vec::new();
        for database in databases {
            callers.push(Self { cache: Memcached::connect(address).await?, database });
        }
        Ok(callers)
    }

    /// Reads the database and fills the cache: what is found.
    async fn miss(&mut self, op: &Op) -> Result<u64> {
        let (key, value) = match op {
            Op::ObjectGet(id) => (object_key(*id), object_value(self.database.object(*id).await?)),
            Op::AssocCount(list) => {
                (count_key(*list), self.database.count(*list).await?.to_le_bytes().to_vec())
            }
            Op::AssocGet(list, _) | Op::AssocRange(list, _) | Op::AssocTimeRange(list, ..) => {
                (list_key(*list), pack(&self.database.range(*list, MAX_QUERY_LIMIT).await?))
            }
            _ => return Ok(0),
        };
        self.cache.set(key, &value);
        self.cache.flush().await?;
        Ok(answer(op, &value))
    }

    async fn write(&mut self, op: &Op) -> Result<()> {
        self.database.write(op).await?;
        let of_edge = |edge: &EdgeKey| vec![list_key(edge.list()), count_key(edge.list())];
        let wrong = match op {
            Op::ObjectAdd(id, _) | Op::ObjectUpdate(id, _) | Op::ObjectDelete(id) => vec![object_key(*id)],
            Op::AssocAdd(edge, ..) | Op::AssocDelete(edge) => of_edge(edge),
            Op::AssocChangeType(edge, to) => {
                let mut keys = of_edge(edge);
                keys.extend(of_edge(&EdgeKey { atype: *to, ..*edge }));
                keys
            }
            _ => Vec::new(),
        };
        self.cache.delete_many(&wrong).await
    }
}

impl Store for LookMemcached {
    async fn page(&mut self, ops: &[Op]) -> Result<Page> {
        let mut page = Page::default();
        let reads: Vec<&Op> = ops.iter().filter(|op| op.is_read()).collect();
        let keys: Vec<CacheKey> = reads.iter().filter_map(|op| key(op)).collect();
        let mut missed = vec![true; reads.len()];
        let (mut found, mut hits) = (0, 0);
        self.cache
            .get_many(&keys, |at, value| {
                missed[at] = false;
                hits += 1;
                found += answer(reads[at], value);
            })
            .await?;
        page.add(Page { hits, reads: reads.len() as u64, found });
        for (op, _) in reads.iter().zip(&missed).filter(|(_, missed)| **missed) {
            page.found += self.miss(op).await?;
        }
        for op in ops.iter().filter(|op| !op.is_read()) {
            self.write(op).await?;
        }
        Ok(page)
    }
}

/// A mark in front tells an absent object from an empty one.
fn object_value(data: Option<Vec<u8>>) -> Vec<u8> {
    match data {
        None => vec![0],
        Some(data) => [&[1][..], &data].concat(),
    }
}

/// Edges one after the other: id, time, length, data.
fn pack(edges: &[EdgeData]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(edges.len() * 16);
    for edge in edges {
        bytes.extend_from_slice(&edge.id2.0.to_le_bytes());
        bytes.extend_from_slice(&edge.time.to_le_bytes());
        bytes.extend_from_slice(&(edge.data.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&edge.data);
    }
    bytes
}

/// Id, time and data of each.
fn unpack(bytes: &[u8]) -> impl Iterator<Item = (u64, u32, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (id, after) = rest.split_first_chunk::<8>()?;
        let (time, after) = after.split_first_chunk::<4>()?;
        let (length, after) = after.split_first_chunk::<4>()?;
        let (data, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        rest = after;
        Some((u64::from_le_bytes(*id), u32::from_le_bytes(*time), data))
    })
}

/// What an application makes of a cached value: how much it finds.
fn answer(op: &Op, value: &[u8]) -> u64 {
    match op {
        Op::ObjectGet(_) => u64::from(value.first() == Some(&1)),
        Op::AssocCount(_) => value.first_chunk::<8>().map_or(0, |count| u64::from_le_bytes(*count)),
        Op::AssocGet(_, ends) => {
            unpack(value).filter(|(id, ..)| ends.iter().any(|end| end.0 == *id)).count() as u64
        }
        Op::AssocRange(_, limit) => unpack(value).take(*limit as usize).count() as u64,
        Op::AssocTimeRange(_, low, limit) => {
            unpack(value).take_while(|(_, time, _)| time >= low).take(*limit as usize).count() as u64
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::workloads::EDGE;

    #[test]
    fn lists_are_asked_as_they_were_packed() {
        let edge = |id, time| EdgeData { id2: ObjectId(id), time, data: Bytes::from(vec![7; id as usize]) };
        let value = pack(&[edge(3, 30), edge(0, 20), edge(5, 10)]);
        let list = ListKey { id1: ObjectId(1), atype: EDGE };
        for (op, found) in [
            (Op::AssocRange(list, 2), 2),
            (Op::AssocRange(list, 100), 3),
            (Op::AssocTimeRange(list, 20, 100), 2),
            (Op::AssocGet(list, vec![ObjectId(5), ObjectId(9)]), 1),
        ] {
            assert_eq!(answer(&op, &value), found, "{op:?}");
        }
        assert_eq!(unpack(&value).last().unwrap().2, [7; 5]);
        let get = Op::ObjectGet(ObjectId(1));
        assert_eq!(
            (answer(&get, &object_value(None)), answer(&get, &object_value(Some(Vec::new())))),
            (0, 1)
        );
    }
}
