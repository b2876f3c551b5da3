//! Random batches through two leaders, against the oracle and against a replay of the changes.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tao_schema::edges::Edge;
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{EdgeKey, Epoch, ListKey, ObjectId, Seq, ShardId};
use tao_schema::ops::{Effect, Outcome};
use tao_schema::rows::{EdgeValue, ObjectRow, ShardChange};

use super::bench::*;
use super::oracle::Oracle;
use super::random_ops::Generator;
use super::replay::Replay;
use super::{Failure, Verdict};
use crate::store::Table;
use crate::write::{Batch, BatchResult, StoreOp, UnitResult, WriteUnit};

/// Batches in a run: some 450 units.
const BATCHES: usize = 200;
/// Batches between two comparisons of all rows.
const COMPARE_EVERY: usize = 25;

pub(super) async fn random_batches_of_two_leaders_match_an_oracle(bench: &Bench) -> Verdict {
    run(bench, seed()?).await.map(|_| ())
}

/// `TAO_SEED` repeats a run; else each run has another seed.
pub(super) fn seed() -> Result<u64, Failure> {
    match std::env::var("TAO_SEED") {
        Ok(seed) => Ok(seed.parse()?),
        Err(_) => Ok(rand::random()),
    }
}

/// One run; answers the changes that its commits answered. A failure names its seed.
pub(super) async fn run(bench: &Bench, seed: u64) -> Result<Vec<Arc<ShardChange>>, Failure> {
    tracing::info!(seed, "random batches");
    let mut run = Run {
        bench,
        generator: Generator::new(seed, bench.shards),
        oracle: Oracle::default(),
        replay: Replay::default(),
        changes: Vec::new(),
        done: Vec::new(),
        requests: 0,
        by_other: false,
    };
    for batch in 0..BATCHES {
        run.batch().await.map_err(|failure| format!("TAO_SEED={seed}, batch {batch}: {failure}"))?;
        if batch % COMPARE_EVERY == 0 {
            run.compare()
                .await
                .map_err(|failure| format!("TAO_SEED={seed}, after batch {batch}: {failure}"))?;
        }
    }
    run.drain().await.map_err(|failure| format!("TAO_SEED={seed}, draining: {failure}"))?;
    run.compare().await.map_err(|failure| format!("TAO_SEED={seed}, at the end: {failure}"))?;
    run.check_pairs().map_err(|failure| format!("TAO_SEED={seed}, at the end: {failure}"))?;
    Ok(run.changes)
}

struct Run<'a> {
    bench: &'a Bench,
    generator: Generator,
    oracle: Oracle,
    replay: Replay,
    changes: Vec<Arc<ShardChange>>,
    /// Requests that had an effect, to be retried, with their outcomes.
    done: Vec<(WriteUnit, Vec<Outcome>)>,
    requests: u128,
    /// Which leader commits.
    by_other: bool,
}

impl Run<'_> {
    async fn batch(&mut self) -> Verdict {
        // Alone as often as not: an engine may have a way of its own for that.
        let alone = self.generator.rng.random_bool(0.5);
        let size = if alone { 1 } else { self.generator.rng.random_range(1..=6) };
        let mut units = Vec::with_capacity(size);
        for _ in 0..size {
            if !self.done.is_empty() && self.generator.rng.random_bool(0.1) {
                let at = self.generator.rng.random_range(0..self.done.len());
                units.push(self.done[at].0.clone());
                continue;
            }
            let unit = self.generator.unit(&self.oracle);
            self.requests += 1;
            units.push(request(self.requests, Duration::ZERO, unit));
        }
        let result = self.commit(units.clone()).await?;
        self.learn(&units, &result)
    }

    /// Through either leader, checked by the oracle and replayed.
    async fn commit(&mut self, units: Vec<WriteUnit>) -> Result<BatchResult, Failure> {
        // Mostly the one that wrote last: it may know what there is.
        self.by_other ^= self.generator.rng.random_bool(0.2);
        let store = if self.by_other { &self.bench.other } else { &self.bench.one };
        let result = store.commit(Batch { units: units.clone() }).await?;
        ensure_eq!(result.units.len(), units.len(), "answers");
        self.oracle.check(&units, &result)?;
        for change in &result.changes {
            self.replay.apply(change)?;
        }
        self.changes.extend(result.changes.iter().cloned());
        Ok(result)
    }

    /// Checks replays, and remembers what later batches retry and drain.
    fn learn(&mut self, units: &[WriteUnit], result: &BatchResult) -> Verdict {
        for (unit, result) in units.iter().zip(&result.units) {
            let first = self.done.iter().find(|(known, _)| known.request == unit.request);
            let UnitResult::Done(done) = result else {
                ensure!(first.is_none(), "a retry was not done: {result:?}");
                continue;
            };
            ensure_eq!(done.replayed, first.is_some(), "whether it is a replay: {unit:?}");
            if let Some((_, outcomes)) = first {
                ensure_eq!(&done.outcomes, outcomes, "the outcomes of a replay");
                continue;
            }
            self.generator.pending.extend(done.pending.iter().cloned());
            if let [StoreOp::InverseApply { edge, origin, .. }] = unit.ops[..] {
                let came = |p: &&_| -> bool {
                    let p: &crate::store::PendingInverse = p;
                    p.inverse == edge && p.origin == origin
                };
                let brought = self.generator.pending.iter().find(came).cloned();
                self.generator.brought.extend(brought);
            }
            if done.outcomes.iter().any(|outcome| outcome.effect != Effect::Nothing) {
                self.done.push((unit.clone(), done.outcomes.clone()));
            }
        }
        Ok(())
    }

    /// Brings over what is pending, and the outbox is empty.
    async fn drain(&mut self) -> Verdict {
        for shard in self.bench.shards {
            for pending in self.bench.outbox(shard).await? {
                let done = StoreOp::OutboxDone { edge: pending.edge, origin: pending.origin };
                self.commit(vec![bring(&pending)]).await?;
                self.commit(vec![unit(vec![done])]).await?;
            }
            ensure_eq!(self.bench.outbox(shard).await?, vec![], "the outbox of {shard}");
        }
        Ok(())
    }

    /// All rows of all tables, the replayed cache and the oracle are the same.
    async fn compare(&self) -> Verdict {
        for shard in self.bench.shards {
            let seq = self.oracle.seqs.get(&shard).copied().unwrap_or_default();
            ensure_eq!(self.bench.row(shard).await?.seq, Seq(seq), "the seq of shard {shard}");
            self.compare_objects(shard).await?;
            self.compare_edges(shard).await?;
            self.compare_lists(shard).await?;
        }
        Ok(())
    }

    async fn compare_objects(&self, shard: ShardId) -> Verdict {
        let scanned = self.bench.other.scan(shard, Table::Objects, None, 10_000).await?.objects;
        let expected = self.oracle.objects.iter().filter(|(id, _)| id.shard() == shard);
        let row = |(id, (otype, version, fields)): (&ObjectId, &(_, u64, tao_schema::fields::Fields))| {
            (*id, ObjectRow { otype: *otype, version: Seq(*version), fields: fields.encode() })
        };
        ensure_eq!(scanned, expected.map(row).collect::<Vec<_>>(), "objects of {shard}");
        let replayed = self.replay.objects.iter().filter(|(id, _)| id.shard() == shard);
        let replayed: Vec<_> = replayed.map(|(id, row)| (*id, row.clone())).collect();
        ensure_eq!(replayed, scanned, "replayed objects of {shard}");
        Ok(())
    }

    async fn compare_edges(&self, shard: ShardId) -> Verdict {
        let scanned = self.bench.one.scan(shard, Table::Edges, None, 10_000).await?.edges;
        let expected: Vec<(EdgeKey, EdgeValue, Epoch, Seq)> = self
            .oracle
            .edges
            .iter()
            .filter(|(edge, _)| edge.id1.shard() == shard)
            .map(|(edge, (value, origin))| (*edge, value.clone(), EPOCH, Seq(*origin)))
            .collect();
        ensure_eq!(scanned, expected, "edges of {shard}");
        let outbox = self.bench.one.outbox(shard, None, 10_000).await?;
        let outbox: Vec<_> =
            outbox.into_iter().map(|p| (p.edge, (p.inverse, p.value, p.origin.seq.0))).collect();
        let expected = self.oracle.outbox.iter().filter(|(edge, _)| edge.id1.shard() == shard);
        let expected: Vec<_> = expected.map(|(edge, row)| (*edge, row.clone())).collect();
        ensure_eq!(outbox, expected, "the outbox of {shard}");
        Ok(())
    }

    async fn compare_lists(&self, shard: ShardId) -> Verdict {
        let scanned = self.bench.one.scan(shard, Table::Counts, None, 10_000).await?.counts;
        let expected: Vec<(ListKey, u64, Seq)> = self
            .oracle
            .versions
            .iter()
            .filter(|(list, _)| list.id1.shard() == shard)
            .map(|(list, version)| (*list, self.oracle.count(*list), Seq(*version)))
            .collect();
        ensure_eq!(scanned, expected, "counts of {shard}");
        for (list, count, version) in scanned {
            let read = self.bench.list(list).await?;
            ensure_eq!((read.count, read.version), (count, version), "list {list:?}");
            let replayed = self.replay.lists.get(&list).cloned().unwrap_or_default();
            ensure_eq!(replayed.version, version, "the replayed version of {list:?}");
            let mut edges: Vec<(u32, ObjectId, EncodedFields)> =
                replayed.edges.into_iter().map(|(id2, v)| (v.time.0, id2, v.fields)).collect();
            edges.sort_by_key(|(time, id2, _)| std::cmp::Reverse((*time, *id2)));
            let read = read.edges.to_vec().into_iter();
            let read: Vec<_> = read.map(|Edge { id2, time, fields }| (time.0, id2, fields)).collect();
            ensure_eq!(read, edges, "list {list:?} against its replay");
        }
        Ok(())
    }

    /// Once drained, every pair has both sides or none.
    fn check_pairs(&self) -> Verdict {
        let inverses = [(LIKES, LIKED_BY), (FOLLOWS, FOLLOWED_BY), (FRIEND, FRIEND)];
        for (edge, (value, _)) in &self.oracle.edges {
            let other = inverses.iter().find_map(|(forward, backward)| match edge.atype {
                atype if atype == *forward => Some(*backward),
                atype if atype == *backward => Some(*forward),
                _ => None,
            });
            let Some(other) = other.map(|atype| edge.reversed(atype)) else { continue };
            let found = self.oracle.edges.get(&other).map(|(value, _)| value);
            ensure_eq!(found, Some(value), "the other side of {edge:?}");
        }
        Ok(())
    }
}
