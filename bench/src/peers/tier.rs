//! The tier, through its SDK. A page of several operations is a batch, which is how an application asks for many things at
//! once: the calls share frames. One operation is a call of its own; calls of many callers share frames by themselves.

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tao_client::{BatchReply, Client, ErrorCode};
use tao_schema::ids::EdgeKey;
use tao_schema::limits::{MAX_ATOMIC_OPS, MAX_QUERY_LIMIT};
use tao_schema::ops::Source;

use super::{Page, Store};
use crate::workloads::{ITEM, Op, Workload};

/// Writes of the loader under way at once.
const LOADERS: usize = 64;
/// Bytes of one atomic write of the loader; a message may have 4 MiB.
const LOAD_BYTES: usize = 1 << 20;

/// One caller.
#[derive(Clone)]
pub struct Tier(Client);

impl Tier {
    /// Callers that share the connections of `client`.
    pub fn callers(client: &Client, number: usize) -> Vec<Self> {
        vec![Self(client.clone()); number]
    }

    /// One caller for each client.
    pub fn each(clients: &[Client]) -> Vec<Self> {
        clients.iter().map(|client| Self(client.clone())).collect()
    }

    async fn one(&self, op: &Op) -> Result<u64> {
        let client = &self.0;
        let done = match op {
            Op::ObjectGet(id) => return Ok(u64::from(client.object_get(*id).send().await?.is_some())),
            Op::AssocGet(list, ends) => {
                let reply = client.assoc_get(list.id1, list.atype, ends.iter().copied()).send().await?;
                return Ok(reply.len() as u64);
            }
            Op::AssocRange(list, limit) => {
                let reply = client.assoc_range(list.id1, list.atype).limit(*limit).send().await?;
                return Ok(reply.len() as u64);
            }
            Op::AssocTimeRange(list, low, limit) => {
                let call = client.assoc_time_range(list.id1, list.atype).low(*low).limit(*limit);
                return Ok(call.send().await?.len() as u64);
            }
            Op::AssocCount(list) => return Ok(client.assoc_count(list.id1, list.atype).send().await?.count),
            Op::ObjectAdd(id, data) => {
                let call = client.object_add(ITEM.0).id(*id).set("data", data.clone());
                call.send().await.map(drop)
            }
            Op::ObjectUpdate(id, data) => {
                client.object_update(*id, ITEM.0).set("data", data.clone()).send().await.map(drop)
            }
            Op::ObjectDelete(id) => client.object_delete(*id).send().await.map(drop),
            Op::AssocAdd(edge, time, data) => {
                let call = client.assoc_add(edge.id1, edge.atype, edge.id2).time(*time);
                if data.is_empty() { call.send().await } else { call.set("data", data.clone()).send().await }
                    .map(drop)
            }
            Op::AssocDelete(edge) => {
                client.assoc_delete(edge.id1, edge.atype, edge.id2).send().await.map(drop)
            }
            Op::AssocChangeType(edge, to) => {
                client.assoc_change_type(edge.id1, edge.atype, edge.id2, *to).send().await.map(drop)
            }
        };
        tolerate(done).map(|()| 0)
    }

    async fn many(&self, ops: &[Op]) -> Result<u64> {
        let client = &self.0;
        let mut batch = client.batch();
        for op in ops {
            match op {
                Op::ObjectGet(id) => batch.add(client.object_get(*id)),
                Op::AssocGet(list, ends) => {
                    batch.add(client.assoc_get(list.id1, list.atype, ends.iter().copied()));
                }
                Op::AssocRange(list, limit) => {
                    batch.add(client.assoc_range(list.id1, list.atype).limit(*limit));
                }
                Op::AssocTimeRange(list, low, limit) => {
                    batch.add(client.assoc_time_range(list.id1, list.atype).low(*low).limit(*limit));
                }
                Op::AssocCount(list) => batch.add(client.assoc_count(list.id1, list.atype)),
                Op::ObjectAdd(id, data) => {
                    batch.add(client.object_add(ITEM.0).id(*id).set("data", data.clone()));
                }
                Op::ObjectUpdate(id, data) => {
                    batch.add(client.object_update(*id, ITEM.0).set("data", data.clone()));
                }
                Op::ObjectDelete(id) => batch.add(client.object_delete(*id)),
                Op::AssocAdd(edge, time, data) => add_edge(&mut batch, client, *edge, *time, data),
                Op::AssocDelete(edge) => batch.add(client.assoc_delete(edge.id1, edge.atype, edge.id2)),
                Op::AssocChangeType(edge, to) => {
                    batch.add(client.assoc_change_type(edge.id1, edge.atype, edge.id2, *to));
                }
            }
        }
        let mut found = 0;
        for reply in batch.send().await {
            found += match reply {
                Ok(BatchReply::Object(object)) => u64::from(object.is_some()),
                Ok(BatchReply::List(list)) => list.len() as u64,
                Ok(BatchReply::Count(count)) => count.count,
                Ok(BatchReply::Added(_) | BatchReply::Written(_)) => 0,
                Err(error) => tolerate(Err(error)).map(|()| 0)?,
            };
        }
        Ok(found)
    }
}

/// One caller who asks of each read whether the follower had the answer.
#[derive(Clone)]
pub struct ExplainedTier(Tier);

impl ExplainedTier {
    /// Callers that share the connections of `client`.
    pub fn callers(client: &Client, number: usize) -> Vec<Self> {
        vec![Self(Tier(client.clone())); number]
    }

    async fn read(&self, op: &Op) -> Result<Page> {
        let client = &self.0.0;
        let (found, explain) = match op {
            Op::ObjectGet(id) => {
                let answered = client.object_get(*id).send_explained().await?;
                (u64::from(answered.value.is_some()), answered.explain)
            }
            Op::AssocCount(list) => {
                let answered = client.assoc_count(list.id1, list.atype).send_explained().await?;
                (answered.value.count, answered.explain)
            }
            Op::AssocGet(list, ends) => {
                let call = client.assoc_get(list.id1, list.atype, ends.iter().copied());
                let answered = call.send_explained().await?;
                (answered.value.len() as u64, answered.explain)
            }
            Op::AssocRange(list, limit) => {
                let call = client.assoc_range(list.id1, list.atype).limit(*limit);
                let answered = call.send_explained().await?;
                (answered.value.len() as u64, answered.explain)
            }
            Op::AssocTimeRange(list, low, limit) => {
                let call = client.assoc_time_range(list.id1, list.atype).low(*low).limit(*limit);
                let answered = call.send_explained().await?;
                (answered.value.len() as u64, answered.explain)
            }
            write => return Ok(Page { found: self.0.one(write).await?, ..Page::default() }),
        };
        let explain = explain.context("the node explains")?;
        Ok(Page { hits: u64::from(explain.source == Source::FollowerCache), reads: 1, found })
    }
}

impl Store for ExplainedTier {
    async fn page(&mut self, ops: &[Op]) -> Result<Page> {
        let mut page = Page::default();
        for op in ops {
            page.add(self.read(op).await?);
        }
        Ok(page)
    }
}

impl Store for Tier {
    async fn page(&mut self, ops: &[Op]) -> Result<Page> {
        let found = if let [op] = ops { self.one(op).await? } else { self.many(ops).await? };
        let reads = ops.iter().filter(|op| op.is_read()).count() as u64;
        Ok(Page { hits: 0, reads, found })
    }
}

/// An object that is there already, or is not: the workload does not know, and the peers' statements do nothing then.
fn tolerate(done: Result<(), tao_client::Error>) -> Result<()> {
    match done {
        Err(error) if matches!(error.code, ErrorCode::PreconditionFailed | ErrorCode::NotFound) => Ok(()),
        other => Ok(other?),
    }
}

fn add_edge(batch: &mut tao_client::Batch<'_>, client: &Client, edge: EdgeKey, time: u32, data: &Bytes) {
    let call = client.assoc_add(edge.id1, edge.atype, edge.id2).time(time);
    batch.add(if data.is_empty() { call } else { call.set("data", data.clone()) });
}

/// Writes all data of a workload through the SDK: durable, and many operations of one shard at a time.
///
/// # Errors
/// A write fails.
pub async fn load(client: &Client, workload: &dyn Workload) -> Result<()> {
    let mut shards: Vec<Pending> = Vec::new();
    let mut full: Vec<Vec<Op>> = Vec::new();
    let mut put = |op: Op, shard: usize, bytes: usize| {
        if shards.len() <= shard {
            shards.resize_with(shard + 1, Pending::default);
        }
        let pending = &mut shards[shard];
        pending.bytes += bytes + 64;
        pending.ops.push(op);
        if pending.ops.len() >= MAX_ATOMIC_OPS || pending.bytes >= LOAD_BYTES {
            full.push(std::mem::take(pending).ops);
        }
    };
    for number in 0..workload.objects() {
        let (id, data) = workload.object(number);
        let bytes = data.len();
        put(Op::ObjectAdd(id, data), usize::from(id.shard().0), bytes);
    }
    for number in 0..workload.lists() {
        let (list, edges) = workload.list(number);
        for edge in edges {
            let bytes = edge.data.len();
            let key = EdgeKey { id1: list.id1, atype: list.atype, id2: edge.id2 };
            put(Op::AssocAdd(key, edge.time, edge.data), usize::from(list.id1.shard().0), bytes);
        }
    }
    full.extend(shards.into_iter().map(|pending| pending.ops).filter(|ops| !ops.is_empty()));
    let writes = full.into_iter().map(|ops| anyhow::Ok(async move { write_together(client, ops).await }));
    stream::iter(writes).try_buffer_unordered(LOADERS).try_collect::<()>().await
}

#[derive(Default)]
struct Pending {
    ops: Vec<Op>,
    bytes: usize,
}

async fn write_together(client: &Client, ops: Vec<Op>) -> Result<()> {
    let mut write = client.atomic().timeout(std::time::Duration::from_secs(60));
    for op in ops {
        match op {
            Op::ObjectAdd(id, data) => write.add(client.object_add(ITEM.0).id(id).set("data", data)),
            Op::AssocAdd(edge, time, data) => {
                let call = client.assoc_add(edge.id1, edge.atype, edge.id2).time(time);
                write.add(if data.is_empty() { call } else { call.set("data", data) });
            }
            other => bail!("{other:?} is not loaded"),
        }
    }
    // All of it is there from an earlier run with the same size and seed: what is read shows whether it is.
    tolerate(write.send().await.map(drop))
}

/// Reads of one page of [`warm`]. A list that is not in memory takes half a millisecond of the servers' core, and all that is
/// asked for at once waits for each other: eight pages of these stay far below an attempt's two seconds.
const WARM_PAGE: usize = 64;

/// Reads everything of a workload once, so that it is in memory as far as it fits.
///
/// # Errors
/// A read fails, or an object is not there.
pub async fn warm(client: &Client, workload: &dyn Workload) -> Result<()> {
    let objects = (0..workload.objects()).map(|number| Op::ObjectGet(workload.object(number).0));
    let lists = (0..workload.lists()).flat_map(|number| {
        let list = workload.list(number).0;
        [Op::AssocRange(list, MAX_QUERY_LIMIT), Op::AssocCount(list)]
    });
    let all: Vec<Op> = objects.chain(lists).collect();
    let objects = workload.objects() as usize;
    let tier = Tier(client.clone());
    let pages = all.chunks(WARM_PAGE).enumerate().map(|(at, page)| {
        let tier = &tier;
        async move {
            let found = tier.many(page).await?;
            let only_objects = (at + 1) * WARM_PAGE <= objects;
            ensure!(!only_objects || found == WARM_PAGE as u64, "{found} of {WARM_PAGE} objects are there");
            anyhow::Ok(())
        }
    });
    let mut pages = stream::iter(pages).buffer_unordered(8);
    while let Some(page) = pages.next().await {
        page?;
    }
    Ok(())
}
