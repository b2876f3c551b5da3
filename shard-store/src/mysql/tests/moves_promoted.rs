//! Moves between host groups of two servers each, while their primaries are replaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tao_schema::topology::ReplicationMode;

use super::support::{open, options};
use crate::conformance::{End, Failure, Promotions, Side, Verdict, assert_promoted_moves};
use crate::fleet::{Fleet, FleetOptions, ServerBinary, test_servers};
use crate::replication::EpochChange;

const LIMIT: Duration = Duration::from_secs(20);

/// A fleet, and where the primary of each group is.
struct Groups {
    fleet: Fleet,
    primaries: [AtomicUsize; 2],
}

impl Groups {
    async fn start(binary: ServerBinary) -> Self {
        let options =
            FleetOptions { replicas: 1, mode: ReplicationMode::Async, ..FleetOptions::new(binary, 2) };
        let fleet = Fleet::start(options).await.unwrap();
        fleet.replicate(&[0, 0], &|_, _| None).await.unwrap();
        let groups = Self { fleet, primaries: [AtomicUsize::new(0), AtomicUsize::new(0)] };
        for side in [Side::Source, Side::Target] {
            // Its tables.
            groups.end(side, true).await.unwrap();
            groups.level(side).await.unwrap();
        }
        groups
    }

    fn index(&self, side: Side, primary: bool) -> Result<usize, Failure> {
        let place = self.primaries[side as usize].load(Ordering::SeqCst);
        let place = if primary { place } else { 1 - place };
        let server = self.fleet.server(side as usize, place).ok_or("no such server")?;
        Ok(server.index())
    }
}

#[async_trait]
impl Promotions for Groups {
    async fn end(&self, side: Side, primary: bool) -> Result<End, Failure> {
        let server = &self.fleet.servers()[self.index(side, primary)?];
        let store = Arc::new(open(server, options("tao")).await?);
        Ok(End { store: store.clone(), mover: store.clone(), log: store })
    }

    async fn level(&self, side: Side) -> Verdict {
        let all = self.fleet.admin(self.index(side, true)?)?.executed().await?;
        Ok(self.fleet.admin(self.index(side, false)?)?.wait_executed(&all, LIMIT).await?)
    }

    async fn promote(&self, side: Side, owned: &[EpochChange], everything: bool) -> Verdict {
        let (old_index, new_index) = (self.index(side, true)?, self.index(side, false)?);
        let (old, new) = (self.fleet.admin(old_index)?, self.fleet.admin(new_index)?);
        let all = old.set_read_only(true).await?;
        if everything {
            new.wait_executed(&all, LIMIT).await?;
            new.stop_replication(true, LIMIT).await?;
        }
        new.forget_source().await?;
        new.open_epochs(owned, 1_000).await?;
        self.fleet.open(new_index).await?;
        if everything {
            self.fleet.follow(old_index, new_index, None).await?;
        }
        self.primaries[side as usize].fetch_xor(1, Ordering::SeqCst);
        Ok(())
    }

    async fn cut_off(&self, side: Side) -> Verdict {
        Ok(self.fleet.stop_replication(self.index(side, false)?).await?)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_moves_shards_while_primaries_are_replaced() {
    let binaries = test_servers().unwrap();
    join_all(binaries.into_iter().map(|binary| async {
        assert_promoted_moves(&Groups::start(binary).await).await;
    }))
    .await;
}
