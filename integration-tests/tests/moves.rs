//! Shards move from one host group to another while users are at work in two regions.

use std::time::Duration;

use integration_tests::history::Invariant;
use integration_tests::scenarios::findings::Findings;
use integration_tests::scenarios::moves::{self, MovesOptions};
use integration_tests::servers::Source;
use tao_schema::topology::ReplicationMode;
use tao_shard_store::fleet::{self, ServerBinary};

fn one_move(binary: ServerBinary, seed: u64) -> MovesOptions {
    println!("{} {}, seed {seed}", binary.flavour(), binary.version());
    MovesOptions {
        source: Source::Local(binary),
        regions: 2,
        groups: 2,
        nodes: 1,
        time: Duration::ZERO,
        moves: Some(1),
        seed,
        users: 6,
        pause: Duration::from_millis(60),
        pace: None,
        wan: Duration::from_millis(5),
        mode: ReplicationMode::Async,
        faults: false,
        rows: 0,
        reverse_after: None,
    }
}

/// Everything was looked at, and nothing is wrong. How quickly users were served is nothing that a test beside others can say.
fn clean(findings: &Findings) {
    assert_eq!(findings.failures, Vec::<String>::new());
    let wrong = findings.violations.iter().filter(|violation| violation.invariant != Invariant::I9);
    assert_eq!(wrong.map(|violation| &violation.message).collect::<Vec<_>>(), Vec::<&String>::new());
    for invariant in
        [Invariant::I1, Invariant::I2, Invariant::I3, Invariant::I4, Invariant::I5, Invariant::I7]
    {
        assert!(findings.checked.get(&invariant).is_some_and(|facts| *facts > 0), "{invariant:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_moves_while_it_is_used() {
    for binary in fleet::test_servers().unwrap() {
        let summary = moves::run(&one_move(binary, 4)).await.unwrap();
        clean(&summary.findings);
        let moves = &summary.moves;
        assert_eq!((moves.begun, moves.finished + moves.reversed, moves.rows_different), (1, 1, 0));
        assert!(moves.rows_copied > 0 && moves.rows_compared > moves.rows_copied, "{moves:?}");
        let report = &summary.each[0];
        let pause = &report.pauses[0];
        assert!(pause.worker_ms.is_some() && pause.predicted_ms.is_some(), "{pause:?}");
        assert!(pause.during.writes > 0, "probes wrote to it: {pause:?}");
    }
}

/// With the source fenced: writes wait until somebody else goes on.
#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread")]
async fn a_mover_that_is_killed_in_the_cutover_is_replaced() {
    let binary = fleet::test_servers().unwrap().pop().unwrap();
    let part = moves::TableOptions {
        steps: vec!["after-fence".to_owned()],
        killed: vec!["mover".to_owned()],
        markdown: None,
    };
    let report = moves::table(&one_move(binary, 5), &part).await.unwrap();
    clean(&report.findings);
    assert_eq!(report.cells.len(), 1);
    let found = &report.cells[0].report;
    assert!(found.fault_happened && found.outcome == "finished", "{:?}", report.cells[0]);
    assert!(found.way.rollbacks > 0 && found.rows_different == 0, "{found:?}");
    let table = report.markdown();
    assert!(table.contains("| `after-fence` |"), "{table}");
}
