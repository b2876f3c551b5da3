//! Look-aside Redis over MySQL: as with memcached, but lists are sorted sets by time, so that a range moves only what is asked
//! for. A member is an edge's id with its data; an edge with the empty id stands in every list that is cached, the empty ones too, and
//! tells them from those that are not. All reads of a page go in one pipeline.

use anyhow::Result;
use tao_schema::ids::{EdgeKey, ListKey, ObjectId};
use tao_schema::limits::MAX_QUERY_LIMIT;

use super::redis::Reply;
use super::wire::push_number;
use super::{Database, Page, Redis, Store};
use crate::workloads::{EdgeData, Op};

/// One caller, with a connection to each.
pub struct LookRedis {
    cache: Redis,
    database: Database,
}

/// A key: what it is of, an id, a type; binary, as Redis takes any bytes.
type Key = [u8; 11];

fn key(kind: u8, id: u64, atype: u16) -> Key {
    let mut key = [kind; 11];
    key[1..9].copy_from_slice(&id.to_le_bytes());
    key[9..].copy_from_slice(&atype.to_le_bytes());
    key
}

fn object_key(id: ObjectId) -> Key {
    key(b'o', id.0, 0)
}

fn list_key(list: ListKey) -> Key {
    key(b'l', list.id1.0, list.atype.0)
}

fn count_key(list: ListKey) -> Key {
    key(b'c', list.id1.0, list.atype.0)
}

impl LookRedis {
    /// So many callers.
    ///
    /// # Errors
    /// A server does not answer.
    pub async fn callers(address: &str, databases: Vec<Database>) -> Result<Vec<Self>> {
        let mut callers = Vec::new();
        for database in databases {
            callers.push(Self { cache: Redis::connect(address).await?, database });
        }
        Ok(callers)
    }

    /// Puts the commands of a read into the pipeline.
    fn ask(&mut self, op: &Op) {
        match op {
            Op::ObjectGet(id) => self.cache.command(&[b"GET", &object_key(*id)]),
            Op::AssocCount(list) => self.cache.command(&[b"GET", &count_key(*list)]),
            // One more than asked for: the mark of a cached list comes last.
            Op::AssocRange(list, limit) => {
                let last = text(u64::from(*limit));
                self.cache.command(&[b"ZREVRANGE", &list_key(*list), b"0", &last]);
            }
            // Members begin with the id, but are found by all of their bytes: the list is looked through here. It is short.
            Op::AssocGet(list, _) => {
                self.cache.command(&[b"ZREVRANGE", &list_key(*list), b"0", b"-1"]);
            }
            // The mark's time is below all others, so it would be missed here: whether the list is there is asked first.
            Op::AssocTimeRange(list, low, limit) => {
                let (low, limit) = (text(u64::from(*low)), text(u64::from(*limit)));
                let key = list_key(*list);
                self.cache.command(&[b"EXISTS", &key]);
                self.cache.command(&[b"ZREVRANGEBYSCORE", &key, b"+inf", &low, b"LIMIT", b"0", &limit]);
            }
            _ => {}
        }
    }

    /// Takes the replies to a read: what is found, or nothing if it is not in the cache.
    async fn hear(&mut self, op: &Op) -> Result<Option<u64>> {
        Ok(match op {
            Op::ObjectGet(_) => match self.cache.reply(|bytes| u64::from(bytes.first() == Some(&1))).await? {
                Reply::Bytes(found) => Some(found),
                _ => None,
            },
            Op::AssocCount(_) => {
                let count = |bytes: &[u8]| bytes.first_chunk().map_or(0, |count| u64::from_le_bytes(*count));
                match self.cache.reply(count).await? {
                    Reply::Bytes(count) => Some(count),
                    _ => None,
                }
            }
            Op::AssocTimeRange(..) => {
                let there = matches!(self.cache.reply(|_| ()).await?, Reply::Number(1));
                let mut found = 0;
                self.cache.list(|_, member| found += u64::from(!member.is_empty())).await?;
                there.then_some(found)
            }
            Op::AssocRange(_, limit) => {
                let mut found = 0;
                let items = self.cache.list(|_, member| found += u64::from(!member.is_empty())).await?;
                (items > 0).then_some(found.min(u64::from(*limit)))
            }
            Op::AssocGet(_, ends) => {
                let mut found = 0;
                let wanted = |member: &[u8]| {
                    member
                        .first_chunk()
                        .is_some_and(|id| ends.iter().any(|end| end.0 == u64::from_le_bytes(*id)))
                };
                let items = self.cache.list(|_, member| found += u64::from(wanted(member))).await?;
                (items > 0).then_some(found)
            }
            _ => None,
        })
    }

    /// Reads the database and fills the cache: what is found.
    async fn miss(&mut self, op: &Op) -> Result<u64> {
        let (found, replies) = match op {
            Op::ObjectGet(id) => {
                let data = self.database.object(*id).await?;
                let value = data.as_ref().map_or_else(|| vec![0], |data| [&[1][..], data].concat());
                self.cache.command(&[b"SET", &object_key(*id), &value]);
                (u64::from(data.is_some()), 1)
            }
            Op::AssocCount(list) => {
                let count = self.database.count(*list).await?;
                self.cache.command(&[b"SET", &count_key(*list), &count.to_le_bytes()]);
                (count, 1)
            }
            Op::AssocGet(list, _) | Op::AssocRange(list, _) | Op::AssocTimeRange(list, ..) => {
                let edges = self.database.range(*list, MAX_QUERY_LIMIT).await?;
                self.fill(*list, &edges);
                (found_in(op, &edges), 2)
            }
            _ => (0, 0),
        };
        self.cache.send().await?;
        for _ in 0..replies {
            self.cache.reply(|_| ()).await?;
        }
        Ok(found)
    }

    /// Replaces a list.
    fn fill(&mut self, list: ListKey, edges: &[EdgeData]) {
        let key = list_key(list);
        let members: Vec<(Vec<u8>, Vec<u8>)> = edges
            .iter()
            .map(|edge| (text(u64::from(edge.time)), [&edge.id2.0.to_le_bytes()[..], &edge.data].concat()))
            .collect();
        let mut parts: Vec<&[u8]> = vec![b"ZADD", &key, b"-1", b""];
        for (time, member) in &members {
            parts.push(time);
            parts.push(member);
        }
        // Edges that have gone since must not stay.
        self.cache.command(&[b"DEL", &key]);
        self.cache.command(&parts);
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
            _ => return Ok(()),
        };
        let mut parts: Vec<&[u8]> = vec![b"DEL"];
        parts.extend(wrong.iter().map(|key| &key[..]));
        self.cache.command(&parts);
        self.cache.send().await?;
        self.cache.reply(|_| ()).await?;
        Ok(())
    }
}

impl Store for LookRedis {
    async fn page(&mut self, ops: &[Op]) -> Result<Page> {
        let mut page = Page::default();
        for op in ops.iter().filter(|op| op.is_read()) {
            self.ask(op);
        }
        self.cache.send().await?;
        let mut missed = Vec::new();
        for op in ops.iter().filter(|op| op.is_read()) {
            page.reads += 1;
            match self.hear(op).await? {
                Some(found) => page.add(Page { hits: 1, reads: 0, found }),
                None => missed.push(op),
            }
        }
        for op in missed {
            page.found += self.miss(op).await?;
        }
        for op in ops.iter().filter(|op| !op.is_read()) {
            self.write(op).await?;
        }
        Ok(page)
    }
}

fn text(number: u64) -> Vec<u8> {
    let mut text = Vec::with_capacity(10);
    push_number(&mut text, number);
    text
}

/// What a read finds among the newest edges.
fn found_in(op: &Op, edges: &[EdgeData]) -> u64 {
    let found = match op {
        Op::AssocRange(_, limit) => edges.len().min(*limit as usize),
        Op::AssocTimeRange(_, low, limit) => {
            edges.iter().filter(|edge| edge.time >= *low).count().min(*limit as usize)
        }
        Op::AssocGet(_, ends) => edges.iter().filter(|edge| ends.contains(&edge.id2)).count(),
        _ => 0,
    };
    found as u64
}
