//! A failover on either side, in the middle of a move.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Result;
use async_trait::async_trait;
use tao_schema::ids::HostGroupId;
use tao_shard_store::fleet::test_servers;

use super::bench::*;
use crate::region::{Limits, PromoteOptions, promote};
use crate::shard::{Step, Watch};

/// Makes the other region's server the primary of a host group when a step comes.
struct Promotes<'a> {
    bench: &'a Bench,
    group: HostGroupId,
    at: Step,
    done: AtomicBool,
}

#[async_trait]
impl Watch for Promotes<'_> {
    async fn step(&self, step: Step) -> Result<()> {
        if step != self.at || self.done.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let newest = self.bench.mover().await.topology().await?;
        let here = newest.host_group(self.group).is_some_and(|group| group.master == REGIONS[0]);
        let options = PromoteOptions {
            region: REGIONS[usize::from(here)],
            groups: &[self.group],
            force: false,
            accept_loss: false,
            as_async: false,
            dry_run: false,
            limits: Limits::default(),
            through: &|_, _| None,
        };
        promote(newest, &options, &|_, _, _| Ok(())).await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_goes_on_when_a_side_fails_over() {
    for binary in test_servers().unwrap() {
        let bench = Bench::start(binary.clone()).await;
        fill(&bench, 1..60).await;
        for (of_source, at) in [
            (true, Step::Chunk),
            (false, Step::Verifying),
            (true, Step::AfterFence),
            (false, Step::Drained),
            (false, Step::BeforeRelease),
        ] {
            let source = bench.owner().await.0;
            let target = bench.begin_away().await;
            let group = if of_source { source } else { target };
            let promotes = Promotes { bench: &bench, group, at, done: AtomicBool::new(false) };
            let start = Instant::now();
            let there = bench.run(&promotes).await;
            let what = format!("{binary}: source {of_source} fails over at {}", at.name());
            let there = there.unwrap_or_else(|error| panic!("{what}: {error}"));
            println!("{what}: {:.1} s", start.elapsed().as_secs_f64());
            assert!(promotes.done.load(Ordering::Relaxed), "{what}: the step does not come");
            assert_eq!((there.state, there.serving), ("REVERSIBLE", target), "{what}: {there:?}");
            assert_eq!(bench.owner().await.0, target, "{what}");
            assert_eq!(bench.edges().await.len(), 59, "{what}");
            bench.finalize().await;
        }
    }
}
