//! Two regions of processes with a delay between them, users in both, and a region that takes over: the soak's scenario,
//! short.

use std::time::Duration;

use integration_tests::servers::Source;
use integration_tests::soak::{self, Event, SoakOptions};
use tao_schema::topology::ReplicationMode;
use tao_shard_store::fleet;

#[tokio::test(flavor = "multi_thread")]
async fn users_read_their_writes_in_the_other_region_through_a_promotion() {
    for binary in fleet::test_servers().unwrap() {
        let options = SoakOptions {
            source: Source::Local(binary),
            regions: 2,
            time: Duration::from_secs(8),
            seed: 3,
            users: 6,
            wan: Duration::from_millis(20),
            mode: ReplicationMode::Async,
            events: vec![Event::Promotion],
            visible_writes: 20,
        };
        let summary = soak::regions(&options).await.unwrap();
        println!("{}", serde_json::to_string(&summary.counts).unwrap());
        assert_eq!(summary.violation_count, 0, "{:#?}", summary.violations);
        let token_reads: u64 = summary
            .counts
            .iter()
            .filter(|(kind, _)| kind.starts_with("token"))
            .map(|(_, count)| count.done)
            .sum();
        assert!(token_reads > 100, "the run did too little to show anything: {token_reads} token reads");
        for (region, check) in &summary.checks {
            assert_eq!(check["difference_count"], 0, "{region}: {check}");
        }
    }
}
