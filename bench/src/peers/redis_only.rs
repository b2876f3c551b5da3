//! Redis alone, holding everything: no database behind it, nothing to miss.

use anyhow::{Result, bail, ensure};

use super::redis::Reply;
use super::wire::push_number;
use super::{Page, Redis, Store};
use crate::workloads::{Op, Workload};

/// Commands of the loader in one pipeline.
const LOAD: usize = 1_000;

/// One caller with a connection of its own.
pub struct RedisOnly(Redis);

impl RedisOnly {
    /// So many callers.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn callers(address: &str, number: usize) -> Result<Vec<Self>> {
        let mut callers = Vec::new();
        for _ in 0..number {
            callers.push(Self(Redis::connect(address).await?));
        }
        Ok(callers)
    }

    /// Puts all data of a workload there: objects as strings, lists as sorted sets of ids by time. Keys and members are the 8
    /// bytes of ids, the shortest that Redis can have.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn load(address: &str, workload: &dyn Workload) -> Result<()> {
        let mut redis = Redis::connect(address).await?;
        let mut pending = 0;
        for number in 0..workload.objects() {
            let (id, data) = workload.object(number);
            redis.command(&[b"SET", &id.0.to_le_bytes(), &data]);
            pending += 1;
            if pending == LOAD {
                drain(&mut redis, std::mem::take(&mut pending)).await?;
            }
        }
        for number in 0..workload.lists() {
            let (list, edges) = workload.list(number);
            for edges in edges.chunks(LOAD) {
                let members: Vec<(Vec<u8>, [u8; 8])> = edges
                    .iter()
                    .map(|edge| {
                        let mut score = Vec::new();
                        push_number(&mut score, edge.time.into());
                        (score, edge.id2.0.to_le_bytes())
                    })
                    .collect();
                let key = list.id1.0.to_le_bytes();
                let mut parts: Vec<&[u8]> = vec![b"ZADD", &key];
                for (score, member) in &members {
                    parts.push(score);
                    parts.push(member);
                }
                redis.command(&parts);
                pending += 1;
            }
            if pending >= 100 {
                drain(&mut redis, std::mem::take(&mut pending)).await?;
            }
        }
        drain(&mut redis, pending).await
    }
}

async fn drain(redis: &mut Redis, replies: usize) -> Result<()> {
    redis.send().await?;
    for _ in 0..replies {
        redis.reply(|_| ()).await?;
    }
    Ok(())
}

impl Store for RedisOnly {
    async fn page(&mut self, ops: &[Op]) -> Result<Page> {
        let redis = &mut self.0;
        for op in ops {
            match op {
                Op::ObjectGet(id) => redis.command(&[b"GET", &id.0.to_le_bytes()]),
                Op::AssocRange(list, limit) => {
                    let mut last = Vec::with_capacity(8);
                    push_number(&mut last, u64::from(limit.saturating_sub(1)));
                    redis.command(&[b"ZREVRANGE", &list.id1.0.to_le_bytes(), b"0", &last]);
                }
                other => bail!("{other:?} is not measured at Redis alone"),
            }
        }
        redis.send().await?;
        let mut found = 0;
        for op in ops {
            found += if matches!(op, Op::ObjectGet(_)) {
                let reply = redis.reply(<[u8]>::len).await?;
                ensure!(matches!(reply, Reply::Bytes(_)), "an object is not at Redis");
                1
            } else {
                // Ids are read out of the reply, as an application would.
                let mut mixed = 0u64;
                let items =
                    redis.list(|_, item| mixed ^= item.try_into().map_or(0, u64::from_le_bytes)).await?;
                std::hint::black_box(mixed);
                items as u64
            };
        }
        Ok(Page { hits: ops.len() as u64, reads: ops.len() as u64, found })
    }
}
