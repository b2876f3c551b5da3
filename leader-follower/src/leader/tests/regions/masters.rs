//! Two host groups with their primaries in different regions.

use super::*;

/// One leader's connections, by host group and region.
struct Both([[Arc<MemoryStore>; 2]; 2]);

impl RemoteDatabases for Both {
    fn server(&self, group: HostGroupId, region: &str) -> Option<SharedDatabase> {
        let at = usize::from(region == "b");
        Some(Arc::clone(&self.0.get(usize::from(group.0) - 1)?[at]) as SharedDatabase)
    }
}

/// Even shards have their primary in `a`, odd ones in `b`; replication takes 60 ms either way.
async fn crossed(world: &Regions) -> [Peer; 2] {
    let toml = TWO_REGIONS.to_owned() + "[[host_groups]]\nid = 2\nmaster = \"b\"\n";
    let cluster = Arc::new(Topology::parse(&toml, "test.toml").unwrap());
    let other = ["c", "d"].map(|server| {
        MemoryDatabase::new(MemoryOptions { server: server.to_owned(), ..MemoryOptions::default() })
    });
    let odd = [ShardId(1), ShardId(3)];
    MemoryStore::open(&other[1]).create_shards(&odd, Epoch(1)).await.unwrap();
    other[0].replicate(&other[1], ReplicationOptions { delay: Duration::from_millis(60) }).unwrap();
    let start = |(at, name): (usize, &str)| {
        let stores = [&world.databases, &other]
            .map(|servers| [0, 1].map(|region| Arc::new(MemoryStore::open(&servers[region]))));
        let own =
            |group: usize| (HostGroupId(group as u16 + 1), Arc::clone(&stores[group][at]) as SharedDatabase);
        let context = LeaderContext {
            node: name.to_owned(),
            schema: Arc::new(GraphSchema::parse(SCHEMA, "test.toml").unwrap()),
            cluster: Arc::new(ArcSwap::from_pointee(Cluster::new(Arc::clone(&cluster)))),
            databases: HashMap::from([own(0), own(1)]),
            remote: Arc::new(Both(stores.clone())),
            clock: Arc::clone(&world.clock) as SharedClock,
            peers: Arc::clone(&world.leaders) as _,
            stale_topology: Arc::new(Notify::new()),
            newer_topology: Arc::default(),
        };
        let handle = Leader::start(world.options.clone(), context, &mut Registry::default());
        world.leaders.0.lock().insert(name.to_owned(), Arc::new(handle.clone()));
        let [first, _] = stores;
        Peer { handle, stores: first }
    };
    let peers = [(0, "a-1"), (1, "b-1")].map(start);
    for peer in &peers {
        peer.serves().await;
    }
    peers
}

#[tokio::test(start_paused = true)]
async fn a_pair_across_masters_is_ordered_by_one_region_and_applied_by_the_other() {
    let world = Regions::new(Duration::from_millis(60)).await;
    let [one, two] = crossed(&world).await;
    let masters =
        |peer: &Peer| peer.handle.status().groups.iter().map(|group| group.master).collect::<Vec<_>>();
    assert_eq!((masters(&one), masters(&two)), (vec![true, false], vec![false, true]));
    let (here, there) = (user(1), object(ShardId(1), 1));
    for (at, writer) in [&one, &two].into_iter().enumerate() {
        // Written from either end and in either region: the forward side orders.
        let op =
            if at == 0 { add(here, LIKES, there, 1) } else { add(object(ShardId(3), 2), LIKED_BY, here, 2) };
        let answer = writer.write(op).await.unwrap();
        assert!(!answer.reply.inverse_pending, "the other master has it");
        let shards: Vec<u16> = answer.reply.positions.iter().map(|position| position.shard.0).collect();
        assert_eq!(shards, [0, if at == 0 { 1 } else { 3 }]);
        for position in answer.reply.positions {
            let other = if at == 0 { there } else { object(ShardId(3), 2) };
            let list = if position.shard == SHARD { list(here, LIKES) } else { list(other, LIKED_BY) };
            for reader in [&one, &two] {
                let (count, _, _) = reader.count(list, Demand::at_least(position)).await;
                assert_eq!(count, if position.shard == SHARD { at as u64 + 1 } else { 1 });
            }
        }
    }
    assert_eq!((one.forwarded("write"), two.forwarded("write")), (0, 1));
    until("empty outboxes", async || one.stores[0].outbox(SHARD, None, 9).await.unwrap().is_empty()).await;
}
