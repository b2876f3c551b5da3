//! Promotion and return, on every server found.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::bail;
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{AssocType, EdgeKey, Epoch, ListKey, ObjectId, ShardId, Time};
use tao_schema::rows::EdgeValue;
use tao_schema::topology::{Dsn, FIRST_EPOCH, HostGroup, Node, Region, ReplicationMode, Tier, Topology};
use tao_shard_store::ShardStore;
use tao_shard_store::fleet::{Fleet, FleetOptions, ServerBinary, test_servers};
use tao_shard_store::mysql::{MySqlStore, Options};
use tao_shard_store::store::{ReadKey, Row};
use tao_shard_store::write::{Batch, StoreOp, UnitResult, WriteUnit};

use super::promote::Way;
use super::*;

mod moves;

const LIKES: AssocType = AssocType(1);
const SHARDS: u16 = 4;
const NAMES: [&str; 3] = ["a", "b", "c"];

/// Servers of regions `a`, `b` and perhaps `c`, primaries in `a`.
struct Servers {
    fleet: Fleet,
    topology: Topology,
}

impl Servers {
    async fn start(binary: ServerBinary, groups: usize, mode: ReplicationMode) -> Self {
        Self::with_replicas(binary, groups, 1, mode).await
    }

    async fn with_replicas(
        binary: ServerBinary,
        groups: usize,
        replicas: usize,
        mode: ReplicationMode,
    ) -> Self {
        let options = FleetOptions { replicas, mode, ..FleetOptions::new(binary, groups) };
        let fleet = Fleet::start(options).await.unwrap();
        fleet.replicate(&vec![0; groups], &|_, _| None).await.unwrap();
        let region = |name: &str| Region {
            name: name.to_owned(),
            leaders: Tier {
                name: format!("leaders-{name}"),
                nodes: vec![Node {
                    name: format!("leader-{name}"),
                    address: "127.0.0.1:1".to_owned(),
                    admin: None,
                }],
            },
            followers: Vec::new(),
        };
        let dsn = |group, replica| Dsn::new(fleet.server(group, replica).unwrap().dsn().expose());
        let host_groups = (0..groups).map(|group| HostGroup {
            id: HostGroupId(group as u16 + 1),
            master: "a".to_owned(),
            epoch: FIRST_EPOCH,
            mode,
            servers: NAMES
                .iter()
                .take(replicas + 1)
                .enumerate()
                .map(|(at, name)| (name.to_string(), dsn(group, at)))
                .collect::<BTreeMap<_, _>>(),
        });
        let topology = Topology {
            version: 1,
            cluster: "test".to_owned(),
            shards: SHARDS.into(),
            regions: NAMES.iter().take(replicas + 1).map(|name| region(name)).collect(),
            host_groups: host_groups.collect(),
            assignments: Vec::new(),
        };
        let servers = Self { fleet, topology };
        for group in 0..groups {
            let own: Vec<_> =
                (0..SHARDS).map(ShardId).filter(|shard| servers.group(*shard) == group).collect();
            servers.store(group, 0).await.create_shards(&own, FIRST_EPOCH).await.unwrap();
            for replica in 1..=replicas {
                servers.level(group, replica, 0).await;
            }
        }
        servers
    }

    fn group(&self, shard: ShardId) -> usize {
        usize::from(shard.0) % self.topology.host_groups.len()
    }

    async fn store(&self, group: usize, replica: usize) -> MySqlStore {
        let dsn = self.fleet.server(group, replica).unwrap().dsn().expose();
        MySqlStore::open(&dsn, Options::default()).await.unwrap()
    }

    async fn level(&self, group: usize, replica: usize, with: usize) {
        let index = |replica| self.fleet.server(group, replica).unwrap().index();
        let all = self.fleet.admin(index(with)).unwrap().executed().await.unwrap();
        self.fleet
            .admin(index(replica))
            .unwrap()
            .wait_executed(&all, Limits::default().catch_up)
            .await
            .unwrap();
    }

    async fn is_open(&self, group: usize, replica: usize) -> bool {
        let index = self.fleet.server(group, replica).unwrap().index();
        !self.fleet.admin(index).unwrap().role().await.unwrap().read_only
    }

    /// Writes edge `id2` on every shard; answers how many took it.
    async fn write(&self, replica: usize, epoch: Epoch, id2: u64) -> usize {
        let mut taken = 0;
        for shard in (0..SHARDS).map(ShardId) {
            let store = self.store(self.group(shard), replica).await;
            let edge = EdgeKey { id1: ObjectId::new(shard, 1), atype: LIKES, id2: ObjectId(id2) };
            let value = EdgeValue { time: Time(1), fields: EncodedFields::new() };
            let op = StoreOp::EdgePut { edge, value, create_only: false, expected: None, inverse: None };
            let unit = WriteUnit { shard, epoch, request: None, ops: vec![op] };
            let result = store.commit(Batch { units: vec![unit] }).await;
            taken += usize::from(result.is_ok_and(|result| matches!(result.units[0], UnitResult::Done(_))));
        }
        taken
    }

    /// Number of edges, shard by shard.
    async fn counts(&self, replica: usize) -> Vec<u64> {
        let mut counts = Vec::new();
        for shard in (0..SHARDS).map(ShardId) {
            let key = ListKey { id1: ObjectId::new(shard, 1), atype: LIKES };
            let store = self.store(self.group(shard), replica).await;
            let read = store.read(&[ReadKey::List { key, edges: 100 }]).await.unwrap();
            let Row::List(list) = &read[0].as_ref().unwrap().row else { panic!("not a list") };
            counts.push(list.count);
        }
        counts
    }

    async fn promote(&self, options: &PromoteOptions<'_>) -> Result<Promoted> {
        promote(self.topology.clone(), options, &|_, _, _| Ok(())).await
    }

    async fn rejoin(&self, region: &str, lossless: bool) -> Result<Vec<Rejoined>> {
        let through = |_: HostGroupId, _: &str| None;
        let options =
            RejoinOptions { region, groups: &[], lossless, limits: Limits::default(), through: &through };
        rejoin(self.topology.clone(), &options, &|_, _, _| Ok(())).await
    }

    async fn assert_in_order(&self, version: u64) {
        let (found, states) = status(self.topology.clone(), &Limits::default()).await.unwrap();
        assert_eq!(found, version);
        assert!(states.iter().all(|state| state.state == "ok"), "{states:?}");
    }
}

fn to(region: &str) -> PromoteOptions<'_> {
    PromoteOptions {
        region,
        groups: &[],
        force: false,
        accept_loss: false,
        as_async: false,
        dry_run: false,
        limits: Limits::default(),
        through: &|_, _| None,
    }
}

/// A command that is cut off before its `calls`-th step.
fn cut_off(calls: usize) -> impl Fn(HostGroupId, Step, &str) -> Result<()> + Send + Sync {
    let seen = AtomicUsize::new(0);
    move |_, step, _| {
        if seen.fetch_add(1, Ordering::Relaxed) >= calls {
            bail!("cut off before {}", step.text());
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_planned_promotion_goes_on_wherever_it_was_cut_off() {
    for binary in test_servers().unwrap() {
        let servers = Servers::start(binary.clone(), 2, ReplicationMode::Lossless).await;
        for id2 in 1..=5 {
            assert_eq!(servers.write(0, Epoch(1), id2).await, 4);
        }
        let dry = servers.promote(&PromoteOptions { dry_run: true, ..to("b") }).await.unwrap();
        assert!(dry.dry_run && dry.groups.iter().all(|group| group.way == Way::Planned));
        assert_eq!(servers.write(0, Epoch(1), 6).await, 4, "{binary}: a dry run did something");
        servers.promote(&to("c")).await.unwrap_err();

        let mut cuts = 0;
        let promoted = loop {
            match promote(servers.topology.clone(), &to("b"), &cut_off(cuts)).await {
                Ok(promoted) => break promoted,
                Err(error) => assert!(format!("{error:#}").contains("cut off"), "{binary}: {error:#}"),
            }
            for group in 0..2 {
                let open = [servers.is_open(group, 0).await, servers.is_open(group, 1).await];
                assert!(open != [true, true], "{binary}: both take writes after {cuts} steps");
            }
            cuts += 1;
        };
        assert!(cuts >= 8, "{binary}: only {cuts} steps");
        assert_eq!(promoted.topology_version, 2);
        assert_eq!(servers.write(1, Epoch(2), 7).await, 4, "{binary}");
        assert_eq!(servers.write(0, Epoch(1), 8).await, 0, "{binary}: the old primary took writes");
        for group in 0..2 {
            servers.level(group, 0, 1).await;
        }
        let counts = servers.counts(1).await;
        assert_eq!(servers.counts(0).await, counts);
        assert!(counts.iter().all(|count| *count >= 7), "{binary}: {counts:?}");
        servers.assert_in_order(2).await;
        // Done is done; and back again, in one go.
        assert_eq!(servers.promote(&to("b")).await.unwrap().topology_version, 2);
        let back = servers.promote(&to("a")).await.unwrap();
        assert_eq!((back.topology_version, back.groups[1].epoch), (3, Epoch(3)));
        assert_eq!(servers.write(0, Epoch(3), 9).await, 4, "{binary}");
        servers.assert_in_order(3).await;
        let seconds: Vec<f64> = back.groups.iter().map(|group| group.seconds).collect();
        println!("{binary}: planned, shut to open: {seconds:.3?} s");
    }
}

#[tokio::test]
async fn a_lost_lossless_primary_costs_no_acknowledged_write() {
    for binary in test_servers().unwrap() {
        let mut servers = Servers::start(binary.clone(), 1, ReplicationMode::Lossless).await;
        for id2 in 1..=5 {
            assert_eq!(servers.write(0, Epoch(1), id2).await, 4);
        }
        servers.fleet.kill(0).await.unwrap();
        let refused = servers.promote(&to("b")).await.unwrap_err().to_string();
        assert!(refused.contains("--as-async"), "{binary}: {refused}");
        let promoted = servers.promote(&PromoteOptions { as_async: true, ..to("b") }).await.unwrap();
        assert_eq!((promoted.topology_version, promoted.groups[0].way), (2, Way::Unplanned));
        assert_eq!(servers.counts(1).await, [5; 4], "{binary}: an acknowledged write was lost");
        assert_eq!(servers.write(1, Epoch(2), 6).await, 4, "{binary}");

        servers.fleet.restart(0).await.unwrap();
        assert_eq!(servers.write(0, Epoch(1), 7).await, 0, "{binary}: the old primary came back open");
        let rejoined = servers.rejoin("a", true).await.unwrap();
        assert_eq!(rejoined[0].state, RejoinState::Follows, "{binary}: {rejoined:?}");
        assert!(servers.fleet.admin(1).unwrap().lossless().await.unwrap().waits, "{binary}");
        assert_eq!(servers.write(1, Epoch(2), 8).await, 4, "{binary}");
        servers.level(0, 0, 1).await;
        assert_eq!(servers.counts(0).await, [7; 4], "{binary}");
        servers.assert_in_order(3).await;
        println!("{binary}: unplanned, lossless: {:.3} s", promoted.groups[0].seconds);

        // A primary that merely crashed is opened again.
        servers.fleet.kill(1).await.unwrap();
        servers.fleet.restart(1).await.unwrap();
        assert_eq!(servers.write(1, Epoch(2), 9).await, 0, "{binary}: open by itself");
        assert_eq!(servers.rejoin("b", false).await.unwrap()[0].state, RejoinState::Primary);
        servers.fleet.admin(0).unwrap().wait_connected(Limits::default().catch_up).await.unwrap();
        assert_eq!(servers.write(1, Epoch(2), 9).await, 4, "{binary}");
    }
}

#[tokio::test]
async fn what_an_async_promotion_lost_is_listed_one_by_one() {
    for binary in test_servers().unwrap() {
        let mut servers = Servers::start(binary.clone(), 1, ReplicationMode::Async).await;
        assert_eq!(servers.write(0, Epoch(1), 1).await, 4);
        servers.level(0, 1, 0).await;
        servers.fleet.stop_replication(1).await.unwrap();
        assert_eq!(servers.write(0, Epoch(1), 2).await, 4);
        assert_eq!(servers.write(0, Epoch(1), 3).await, 4);
        servers.fleet.kill(0).await.unwrap();

        let refused = servers.promote(&to("b")).await.unwrap_err().to_string();
        assert!(refused.contains("--accept-loss"), "{binary}: {refused}");
        let promoted = servers.promote(&PromoteOptions { accept_loss: true, ..to("b") }).await.unwrap();
        assert_eq!(promoted.groups[0].way, Way::Unplanned);
        assert_eq!(servers.write(1, Epoch(2), 9).await, 4, "{binary}");

        servers.fleet.restart(0).await.unwrap();
        for _ in 0..2 {
            let rejoined = servers.rejoin("a", false).await.unwrap();
            assert_eq!(rejoined[0].state, RejoinState::Out, "{binary}");
            let loss = rejoined[0].loss.as_ref().unwrap();
            assert_eq!((loss.transaction_count, loss.write_count, loss.heartbeats), (8, 8, 0), "{loss:?}");
            let lost: Vec<_> =
                loss.writes.iter().map(|write| (write.shard, write.epoch, write.seq)).collect();
            assert_eq!(
                lost,
                [2, 3]
                    .map(|seq| (0..4).map(move |shard| (shard, 1, seq)))
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
            );
            let list = &loss.writes[4].lists[0];
            assert_eq!((list.id1, &list.put[..]), (ObjectId::new(ShardId(0), 1), &[ObjectId(3)][..]));
        }
        let (_, states) = status(servers.topology.clone(), &Limits::default()).await.unwrap();
        assert!(states[0].state.contains("diverged") && states[1].state == "ok", "{states:?}");
        // Rebuilt, it may come back.
        servers.fleet.reseed(0, 1, None, Limits::default().catch_up).await.unwrap();
        assert_eq!(servers.rejoin("a", false).await.unwrap()[0].state, RejoinState::Follows, "{binary}");
        servers.assert_in_order(2).await;
        assert_eq!(servers.counts(0).await, [2; 4], "{binary}");
        println!("{binary}: unplanned, async: {:.3} s", promoted.groups[0].seconds);
    }
}

#[tokio::test]
async fn h21_a_replica_that_lacks_acknowledged_writes_gets_them_from_the_other() {
    for binary in test_servers().unwrap() {
        let mut servers = Servers::with_replicas(binary.clone(), 1, 2, ReplicationMode::Lossless).await;
        assert_eq!(servers.write(0, Epoch(1), 1).await, 4);
        servers.level(0, 1, 0).await;
        servers.fleet.stop_replication(1).await.unwrap();
        // Acknowledged by region c alone.
        assert_eq!(servers.write(0, Epoch(1), 2).await, 4, "{binary}");
        servers.fleet.kill(0).await.unwrap();
        servers.fleet.kill(2).await.unwrap();
        let refused = servers.promote(&to("b")).await.unwrap_err().to_string();
        assert!(refused.contains("the servers in c do not answer"), "{binary}: {refused}");
        servers.fleet.restart(2).await.unwrap();

        let promoted = servers.promote(&to("b")).await.unwrap();
        assert_eq!(servers.counts(1).await, [2; 4], "{binary}: an acknowledged write was lost");
        let others = &promoted.groups[0].others;
        assert!(others.contains(&("c".to_owned(), "follows".to_owned())), "{binary}: {others:?}");
        assert_eq!(servers.write(1, Epoch(2), 3).await, 4, "{binary}");
        servers.level(0, 2, 1).await;
        assert_eq!(servers.counts(2).await, [3; 4], "{binary}");
    }
}
