//! The simulation is a function of its seed. (What it finds is another question: `tao-sim` asks it of many seeds.)

use integration_tests::simulation::run;

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
