//! Faults: their schedules, which links they concern, and each of them once on real regions.

use std::collections::BTreeSet;
use std::time::Duration;

use integration_tests::faults::{
    self, Ends, Fault, FaultKind, Flow, LinkFault, Network, Place, Planned, Schedule, ScheduleOptions,
};
use integration_tests::regions::{Links, Regions, RegionsOptions};
use integration_tests::servers::Source;
use tao_schema::ids::{ObjectId, ObjectType};
use tao_server::wan::Way;
use tao_shard_store::fleet::{self, ServerBinary};
use tokio::net::TcpListener;

const LEADER_A: &str = "region-a-leader-1";
const LEADER_B: &str = "region-b-leader-1";

fn region(name: &str) -> Ends {
    Ends::Region(format!("region-{name}"))
}

fn options(at_once: usize) -> ScheduleOptions {
    let servers = vec![Place::server(1, "region-a"), Place::server(1, "region-b")];
    ScheduleOptions {
        kinds: FaultKind::ALL.to_vec(),
        regions: vec!["region-a".to_owned(), "region-b".to_owned()],
        nodes: vec![Place::node(LEADER_A), Place::node(LEADER_B)],
        replicas: servers[1..].to_vec(),
        killable: servers.clone(),
        processes: servers.clone(),
        servers,
        fault: (Duration::from_secs(1), Duration::from_secs(8)),
        pause: (Duration::from_millis(500), Duration::from_secs(4)),
        at_once,
        quiet: Duration::from_secs(2),
    }
}

#[test]
fn a_seed_gives_one_schedule_which_keeps_its_bounds_and_can_be_read_back() {
    let length = Duration::from_secs(120);
    let mut kinds = BTreeSet::new();
    let mut overlaps = 0;
    for seed in 0..40 {
        let schedule = Schedule::random(seed, length, &options(2));
        assert_eq!(schedule, Schedule::random(seed, length, &options(2)));
        assert_ne!(schedule, Schedule::random(seed + 1, length, &options(2)));
        assert_eq!(Schedule::parse(&schedule.to_json()).unwrap(), schedule, "{schedule}");
        kinds.extend(schedule.counts().into_keys());
        for (at, planned) in schedule.faults.iter().enumerate() {
            let end = |planned: &Planned| planned.at_ms + planned.length_ms;
            assert!(planned.at_ms >= 2_000 && end(planned) <= 118_000, "{schedule}");
            let meets: Vec<_> =
                schedule.faults[..at].iter().filter(|other| end(other) > planned.at_ms).collect();
            assert!(meets.len() < 2, "{schedule}");
            overlaps += meets.len();
            let same = |other: &&Planned| other.fault.place() == planned.fault.place();
            let place = planned.fault.place();
            assert!(place.is_none() || !meets.iter().any(same), "two faults of one process: {schedule}");
        }
        let single = Schedule::random(seed, length, &options(1));
        let pairs = single.faults.windows(2);
        assert!(pairs.into_iter().all(|pair| pair[0].at_ms + pair[0].length_ms <= pair[1].at_ms), "{single}");
    }
    assert_eq!(kinds.len(), FaultKind::ALL.len(), "{kinds:?}");
    assert!(overlaps > 40, "{overlaps}");
}

/// Leaders of two regions, and a client of the first, with links to both leaders.
async fn network() -> (Network, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (a, b, client) = (Place::node(LEADER_A), Place::node(LEADER_B), Place::client("region-a"));
    let mut network = Network::new(1).unwrap();
    for (place, region) in [(&a, "region-a"), (&b, "region-b"), (&client, "region-a")] {
        network.place(place.clone(), region);
    }
    for (from, to) in [(&a, &b), (&b, &a), (&client, &a), (&client, &b)] {
        network.open(from, to, &address, Duration::from_millis(3)).await.unwrap();
    }
    (network, listener)
}

/// Which ways are cut: of a to b, of b to a, of the client to a, of the client to b.
fn cut(network: &Network) -> [(bool, bool); 4] {
    let (a, b, client) = (Place::node(LEADER_A), Place::node(LEADER_B), Place::client("region-a"));
    [(&a, &b), (&b, &a), (&client, &a), (&client, &b)].map(|(from, to)| {
        let link = network.link(from, to).unwrap();
        (link.conditions(Way::Out).cut, link.conditions(Way::Back).cut)
    })
}

#[tokio::test]
async fn a_fault_concerns_what_travels_so_whoever_connected() {
    let (network, _listener) = network().await;
    let (none, out, back, both) = ((false, false), (true, false), (false, true), (true, true));
    let all = |flows: &[Flow]| network.inject(flows, LinkFault::Cut).unwrap();

    let one_way = all(&Flow::one_way(region("a"), region("b")));
    assert_eq!(cut(&network), [out, back, none, out]);
    let other_way = all(&Flow::one_way(region("b"), region("a")));
    assert_eq!(cut(&network), [both, both, none, both]);
    network.heal(one_way);
    assert_eq!(cut(&network), [back, out, none, back]);
    network.heal(other_way);
    network.heal(other_way);
    assert_eq!(cut(&network), [none; 4]);

    let isolated = all(&Flow::of(Place::node(LEADER_A)));
    assert_eq!(cut(&network), [both, both, both, none]);
    let deaf = all(&Flow::one_way(Ends::All, Place::node(LEADER_B)));
    assert_eq!(cut(&network), [both, both, both, out]);
    network.heal(isolated);
    assert_eq!(cut(&network), [out, back, none, out]);
    network.heal(deaf);
    assert!(network.inject(&Flow::of(Place::server(1, "region-a")), LinkFault::Cut).is_err());
}

#[tokio::test]
async fn faults_of_one_link_add_up_and_end_each_for_itself() {
    let (network, _listener) = network().await;
    let (client, a) = (Place::client("region-a"), Place::node(LEADER_A));
    let flows = Flow::one_way(client.clone(), a.clone());
    let delay = LinkFault::Delay { latency_ms: 10, jitter_ms: 4 };
    let first = network.inject(&flows, delay).unwrap();
    network.inject(&Flow::one_way(Ends::All, a.clone()), delay).unwrap();
    network.inject(&flows, LinkFault::Bandwidth { bytes_per_second: 900 }).unwrap();
    network.inject(&flows, LinkFault::Bandwidth { bytes_per_second: 700 }).unwrap();
    let link = network.link(&client, &a).unwrap();
    let now = link.conditions(Way::Out);
    assert_eq!((now.latency, now.jitter), (Duration::from_millis(23), Duration::from_millis(8)));
    assert_eq!(now.bytes_per_second.map(u64::from), Some(700));
    assert_eq!(link.conditions(Way::Back).latency, Duration::from_millis(3));
    network.heal(first);
    assert_eq!(link.conditions(Way::Out).latency, Duration::from_millis(13));
    network.heal_all();
    assert_eq!(link.conditions(Way::Out), link.conditions(Way::Back));
}

/// Each kind of fault once, one after the other, on regions with a link on every connection: all of them happen and end,
/// and afterwards both regions serve and agree.
#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_fault_happens_and_ends() {
    for binary in fleet::test_servers().unwrap() {
        println!("{} {}", binary.flavour(), binary.version());
        every_kind(binary).await;
    }
}

async fn every_kind(binary: ServerBinary) {
    let options = RegionsOptions {
        groups: 1,
        wan: Duration::from_millis(5),
        links: Links::Everywhere,
        disk_bytes: Some(1 << 30),
        clocks: true,
        ..RegionsOptions::default()
    };
    let mut regions = Regions::start(&Source::Local(binary), &options).await.unwrap();
    let (primary, replica) = (Place::server(1, "region-a"), Place::server(1, "region-b"));
    let follower = Place::node("region-b-follower-1");
    let between = Flow::both_ways(region("a"), region("b"));
    let effect = |effect| Fault::Network { flows: between.clone(), effect };
    let faults = [
        effect(LinkFault::Cut),
        Fault::cut(Flow::one_way(region("a"), region("b"))),
        effect(LinkFault::Delay { latency_ms: 50, jitter_ms: 50 }),
        effect(LinkFault::Bandwidth { bytes_per_second: 20_000 }),
        effect(LinkFault::SlowClose { delay_ms: 200 }),
        effect(LinkFault::Reset),
        effect(LinkFault::HalfOpen),
        Fault::Kill(follower.clone()),
        Fault::Kill(primary.clone()),
        Fault::Pause(Place::node(LEADER_A)),
        Fault::Slow { place: replica.clone(), times: 30 },
        Fault::StopReplication(replica.clone()),
        Fault::DelayReplication { server: replica.clone(), seconds: 1 },
        Fault::Clock { place: follower, seconds: 3_600 },
        Fault::Clock { place: primary.clone(), seconds: -3_600 },
        Fault::FillDisk(replica),
    ];
    let wanted: BTreeSet<FaultKind> =
        faults.iter().map(Fault::kind).filter(|kind| regions.can(*kind).is_ok()).collect();
    let planned = faults.into_iter().enumerate().map(|(at, fault)| Planned {
        at_ms: at as u64 * 1_000,
        length_ms: 700,
        fault,
    });
    let schedule = Schedule { seed: 0, length_ms: 17_000, faults: planned.collect() };
    let report = faults::run(&mut regions, &schedule).await;
    println!("{}", serde_json::to_string(&report).unwrap());
    assert!(report.failures.is_empty() && report.ended.is_empty(), "{report:#?}");
    assert_eq!(report.injected.keys().copied().collect::<BTreeSet<_>>(), wanted);
    regions.caught_up(Duration::from_secs(120)).await.unwrap();
    for (number, door) in regions.clients().await.unwrap().into_iter().enumerate() {
        let id = ObjectId::named(ObjectType(1), number as u32, regions.shards());
        let call = door.client.object_add("user").id(id).set("name", "Ann");
        call.timeout(Duration::from_secs(20)).send().await.unwrap();
        assert!(door.client.object_get(id).send().await.unwrap().is_some(), "{}", door.region);
    }
    let client = regions.network().link(&Place::client("region-a"), &Place::node("region-a-follower-1"));
    assert!(client.unwrap().carried(Way::Out) > 0, "clients go past their link");
}
