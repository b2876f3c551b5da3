//! The simulation is a function of its seed. (What it finds is another question: `tao-sim` asks it of many seeds.) And what a request
//! costs in it does not depend on the number of shards.

use integration_tests::simulation::{Size, costs, run};

/// Seeds that are run twice.
const SEEDS: std::ops::Range<u64> = 1..21;
/// Simulated seconds of each run.
const SECONDS: u64 = 6;

#[test]
fn the_same_seed_does_the_same_and_another_does_something_else() {
    let mut hashes = std::collections::BTreeSet::new();
    for seed in SEEDS {
        let (one, two) = (run(seed, SECONDS, false), run(seed, SECONDS, false));
        assert!(one.events > 500 && one.operations > 0, "seed {seed} did nothing: {one:?}");
        assert_eq!((one.hash, one.events), (two.hash, two.events), "seed {seed} is not repeated");
        assert!(one.is_right(), "tao-sim --seed {seed} --seconds {SECONDS}: {:?}", one.judgement.violations);
        hashes.insert(one.hash);
    }
    assert_eq!(hashes.len() as u64, SEEDS.end - SEEDS.start, "seeds differ");
}

#[test]
fn a_request_costs_a_hundred_nodes_as_much_with_many_shards_as_with_few() {
    let of = |shards| costs(Size { shards, leaders: 20, followers: 80 }, 10_000).unwrap();
    let (few, many) = (of(160), of(800));
    for costs in [&few, &many] {
        assert!(costs.streams_of_a_follower <= 20 && costs.streams_of_a_leader <= 80, "{costs:?}");
        assert!(costs.streams >= 80, "a follower without a change stream: {costs:?}");
        // One call of the follower, and each change to the one follower that has its shard; the log goes to every leader.
        let messages = |what| costs.messages_a_write[what];
        assert!((0.9..=1.1).contains(&messages("write")), "{costs:?}");
        assert!((0.9..=1.1).contains(&messages("message")), "{costs:?}");
    }
    for (what, sent) in &many.messages_a_write {
        let before = few.messages_a_write[what];
        assert!((sent - before).abs() <= 0.1 * before.max(1.0), "{what}: {before} and {sent} for each write");
    }
}
