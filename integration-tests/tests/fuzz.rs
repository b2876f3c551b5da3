//! The fuzz targets, briefly: see `integration_tests::fuzz`.

use std::time::Duration;

use integration_tests::fuzz::{self, TARGETS, any_seed, binlog};

/// For each target.
const BRIEFLY: Duration = Duration::from_millis(1_200);

/// Another seed: TAO_FUZZ_SEED.
#[test]
fn no_target_breaks_briefly() {
    let seed = std::env::var("TAO_FUZZ_SEED").map_or_else(|_| any_seed(), |text| text.parse().unwrap());
    println!("seed {seed} (TAO_FUZZ_SEED)");
    for target in TARGETS {
        let report = fuzz::run(target, seed, BRIEFLY);
        println!("{}", serde_json::to_string(&report).unwrap());
        assert!(report.crash.is_none(), "{report:?}");
        // The slowest does hundreds a second; other tests take their share of the machine.
        assert!(report.inputs > 20, "too few inputs show nothing: {report:?}");
    }
}

/// Changes reach far only from inputs that do.
#[test]
fn the_whole_logs_are_understood() {
    assert!(binlog::corpus_is_understood());
}

/// The machinery finds what it is made to find, and leaves out what does not matter.
#[test]
fn a_broken_property_is_found_and_made_short() {
    fn body(bytes: &[u8]) {
        assert!(!bytes.windows(2).any(|pair| pair[0] == b'x' && pair[1] > 200), "x before something large");
    }
    let target = fuzz::Target {
        name: "broken",
        body,
        corpus: || vec![b"aaaaaaaaaaaaaaaaaxaaaaaaaaaaaaaaaaaaaaaaaa".to_vec()],
        words: &[],
    };
    let report = fuzz::run(&target, 1, Duration::from_secs(60));
    let crash = report.crash.unwrap();
    assert_eq!((crash.input.len(), &crash.input[..2]), (4, "78"), "{crash:?}");
    assert!(crash.message.contains("x before something large"), "{crash:?}");
}
