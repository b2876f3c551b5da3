//! Regions on servers that somebody else runs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use integration_tests::faults::{Fault, FaultKind, Flow, Impossible, LinkFault, Place};
use integration_tests::regions::{Links, Regions, RegionsOptions};
use integration_tests::servers::{Servers, ServersOptions, Source};
use tao_client::Client;
use tao_schema::ids::{ObjectId, ObjectType};
use tao_shard_store::fleet;

const LIMIT: Duration = Duration::from_secs(60);
/// Of one call.
const PATIENCE: Duration = Duration::from_secs(20);

async fn write(client: &Client, id: ObjectId, name: &str) {
    client.object_add("user").id(id).set("name", name).timeout(PATIENCE).send().await.unwrap();
}

/// Until a client shows a name.
async fn read(client: &Client, id: ObjectId, name: &str) {
    let began = Instant::now();
    loop {
        let found = client.object_get(id).timeout(PATIENCE).send().await.unwrap();
        let found = found.as_ref().map(|user| user.text("name").unwrap());
        if found == Some(name) {
            return;
        }
        assert!(began.elapsed() < LIMIT, "{found:?}, not {name:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// That a fault is refused, and has not happened; why.
async fn impossible(regions: &mut Regions, fault: Fault) -> String {
    let refused = regions.inject(&fault).await.unwrap_err();
    let Some(Impossible(why)) = refused.downcast_ref::<Impossible>() else { panic!("{fault}: {refused:#}") };
    assert_eq!(regions.possible(&fault), Err(Impossible(why.clone())));
    why.clone()
}

/// What can be done to others' servers, and what can't.
async fn faults(regions: &mut Regions) {
    let (primary, replica) = (Place::server(1, "region-a"), Place::server(1, "region-b"));
    let kill = impossible(regions, Fault::Kill(primary.clone())).await;
    assert!(kill.contains("not ours to kill"), "{kill}");
    let pause = impossible(regions, Fault::Pause(primary.clone())).await;
    assert!(pause.contains("processes of this machine"), "{pause}");
    impossible(regions, Fault::Clock { place: primary.clone(), seconds: 60 }).await;
    impossible(regions, Fault::FillDisk(primary.clone())).await;
    assert!(regions.can(FaultKind::FillDisk).is_err());
    let lost = regions.lose_region(0, 1).await.unwrap_err();
    assert!(lost.downcast_ref::<Impossible>().is_some(), "{lost:#}");
    let cut = Flow::both_ways(replica.clone(), primary);
    for fault in [
        Fault::StopReplication(replica.clone()),
        Fault::DelayReplication { server: replica, seconds: 1 },
        Fault::Network { flows: cut, effect: LinkFault::Reset },
        Fault::Kill(Place::node("region-b-leader-1")),
    ] {
        let mut injected = regions.inject(&fault).await.unwrap();
        regions.heal(&mut injected).await.unwrap();
    }
    regions.wait_ready().await.unwrap();
    // A reset may have stopped it for good.
    regions.start_replication().await.unwrap();
}

/// A run on the servers of a file: what it started, and its folder.
async fn run(file: &Path, number: u32) -> (Vec<u32>, PathBuf) {
    let mut source = Source::parse(&format!("file:{}", file.display())).unwrap();
    let options =
        RegionsOptions { groups: 1, shards: 8, links: Links::Everywhere, ..RegionsOptions::default() };
    if number > 1 {
        let refused = format!("{:#}", Regions::start(&source, &options).await.err().unwrap());
        assert!(refused.contains("--empty-servers"), "{refused}");
        source = source.that_may_be_emptied().unwrap();
    }
    let mut regions = Regions::start(&source, &options).await.unwrap();
    let (here, there) =
        (regions.client("region-a").await.unwrap(), regions.client("region-b").await.unwrap());
    let id = ObjectId::named(ObjectType(1), 1, regions.shards());
    // Nothing of an earlier run is there.
    assert!(here.object_get(id).timeout(PATIENCE).send().await.unwrap().is_none(), "run {number}");
    write(&here, id, "Ann").await;
    read(&there, id, "Ann").await;
    faults(&mut regions).await;
    regions.caught_up(LIMIT).await.unwrap();
    // The next run finds servers that have another primary.
    regions.promote(1, &[]).await.unwrap();
    let other = ObjectId::named(ObjectType(1), 2, regions.shards());
    write(&there, other, "Bob").await;
    read(&here, other, "Bob").await;
    regions.caught_up(LIMIT).await.unwrap();
    for (region, check) in regions.check_all().await.unwrap() {
        assert_eq!(check["difference_count"], 0, "{region}: {check}");
    }
    (regions.nodes.values().map(|node| node.pid()).collect(), regions.folder().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn regions_run_on_given_servers_again_and_again_and_leave_nothing_else_behind() {
    for binary in fleet::test_servers().unwrap() {
        println!("{} {}", binary.flavour(), binary.version());
        let others = Servers::start(&Source::Local(binary), ServersOptions::new(1, 2)).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("servers.toml");
        let dsns = [others.dsn(0).unwrap(), others.dsn(1).unwrap()];
        std::fs::write(&file, format!("host_groups = [{dsns:?}]\n")).unwrap();
        for number in 1..=2 {
            let (processes, folder) = run(&file, number).await;
            assert_eq!(processes.len(), 4);
            for process in processes {
                assert!(!Path::new(&format!("/proc/{process}")).exists(), "{process} is left");
            }
            assert!(!folder.exists(), "{} is left", folder.display());
        }
        for index in 0..2 {
            others.admin(index).unwrap().role().await.unwrap();
        }
    }
}
