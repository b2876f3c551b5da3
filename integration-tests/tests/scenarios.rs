//! What the scenarios measure with: meters, samples, the matrix as a table.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use integration_tests::scenarios::matrix::cell::{Component, Fault, How};
use integration_tests::scenarios::matrix::table::CELLS;
use integration_tests::scenarios::meter::{Meter, Phase};
use integration_tests::scenarios::sampling::{Flatness, Sample, Samples};
use tao_client::ErrorCode;

#[test]
fn a_call_belongs_to_the_greatest_phase_that_it_overlaps() {
    let meter = Meter::default();
    let before = Instant::now();
    meter.note("a", "object_get", false, before, Ok(()));
    meter.enter(Phase::Fault("kill".to_owned()));
    meter.enter(Phase::Recovery);
    meter.note("a", "object_get", false, before, Err(ErrorCode::Unavailable));
    meter.note("a", "object_get", false, Instant::now(), Ok(()));
    let reads = &meter.figures().availability["reads"];
    let calls = |phase: &str| (reads[phase].calls, reads[phase].failed);
    assert_eq!((calls("quiet"), calls("kill"), calls("recovery")), ((1, 0), (1, 1), (1, 0)));
    assert_eq!(calls("all"), (3, 1));
    assert_eq!(meter.window(before).failed, 1);
}

#[test]
fn a_refusal_is_an_answer() {
    let meter = Meter::default();
    let now = Instant::now();
    meter.note("a", "object_add", true, now, Err(ErrorCode::PreconditionFailed));
    meter.note("a", "object_add", true, now, Err(ErrorCode::OutcomeUnknown));
    let figures = meter.figures();
    assert_eq!(figures.availability["writes"]["all"].failed, 1);
    assert_eq!(figures.errors.values().sum::<u64>(), 2);
}

fn series(seconds: u64, bytes: impl Fn(u64) -> u64) -> Flatness {
    let mut samples = Samples::default();
    for second in 0..seconds {
        samples.add("process", Sample { at: Duration::from_secs(second), bytes: bytes(second), files: 20 });
    }
    samples.verdicts().remove("process").unwrap()
}

#[test]
fn what_fills_up_and_stays_is_flat_and_what_grows_is_not() {
    let full = series(400, |second| (second * (1 << 20)).min(150 << 20));
    assert_eq!((full.flat, full.peak_mib), (Some(true), 150));
    let leak = series(400, |second| second * (1 << 20));
    assert_eq!(leak.flat, Some(false));
    assert!((3_599.0..3_601.0).contains(&leak.slope_mib_per_hour), "{}", leak.slope_mib_per_hour);
    assert_eq!(series(8, |_| 1 << 20).flat, None, "too few to say");
}

#[test]
fn long_runs_keep_few_samples() {
    let long = series(100_000, |second| second << 20);
    assert!(long.samples < 5_000, "{}", long.samples);
    assert_eq!(long.peak_mib, 99_999);
    assert_eq!(long.flat, Some(false));
}

#[test]
fn a_living_process_has_memory_and_files() {
    let mut samples = Samples::default();
    samples.take(Duration::ZERO, [("self", std::process::id()), ("gone", u32::MAX)]);
    let verdicts = samples.verdicts();
    assert_eq!(verdicts.keys().collect::<Vec<_>>(), ["self"]);
    assert!(verdicts["self"].peak_mib > 0 && verdicts["self"].peak_files > 2);
}

/// Every fault at every component, but the application's disk; and none is silently empty.
#[test]
fn the_matrix_has_all_of_its_cells() {
    let names: BTreeSet<String> = CELLS.iter().map(|cell| cell.name()).collect();
    assert_eq!(names.len(), 59, "no cell is there twice");
    assert!(!CELLS.iter().any(|cell| matches!(cell.how, How::Not(_))), "all of them are run");
    for cell in &CELLS {
        match cell.how {
            How::Ways(ways) => {
                assert!(!ways.is_empty() && ways.iter().all(|way| !way.is_empty()), "{}", cell.name());
            }
            How::Not(reason) => assert!(!reason.is_empty(), "{}", cell.name()),
        }
        assert!(!(cell.fault == Fault::DiskFull && cell.component == Component::Client));
    }
}
