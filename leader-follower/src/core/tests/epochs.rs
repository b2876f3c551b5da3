//! Epochs: what a promotion leaves of a cache, and which positions it leaves comparable (R19, R24).

use tao_schema::ids::{Epoch, Seq};
use tao_schema::rows::EpochStart;

use super::super::rules::Rule;
use super::super::{LineageProblem, ShardCore};
use super::script::{check, check_rule};
use super::{SHARD, at, options};

#[test]
fn h19_the_same_seq_of_two_epochs_is_not_the_same() {
    check_rule(
        "H19: a token of a lost epoch, whose seq the next one has reached with other writes",
        Rule::EpochEnds,
        "reset 117; epoch 2@118; change 2/118 x=1; change 2/119 x=2; change 2/120 x=3; fill o=5v100 @2/120; read o >=1/120; read o >=1/117",
        "Continues; stored 5@120; lost epoch; 5@120",
        "Continues; stored 5@120; 5@120; 5@120",
    );
    check_rule(
        "R24: beyond the old epoch's end everything goes",
        Rule::EpochFlush,
        "reset 120; fill o=1v119 @120; epoch 2@118; change 2/118 x=1; read o; from",
        "stored 1@120; Flushed; absent; from 118",
        "stored 1@120; Continues; Duplicate; 1@120; from 120",
    );
    check_rule(
        "R24: floors beyond the end can't be waited for",
        Rule::FloorsEnd,
        "reset 117; answer 120 l9>1:A90; epoch 2@118; change 2/118 x=1; floor l; fill l9=0: @2/118",
        "Continues; floor 117; stored 0:@118",
        "Continues; floor 120; BelowFloor 0:@118",
    );
    check(
        "an entry ahead of a lost epoch's end goes, though the watermark does not",
        "reset 110; fill o=1v119 @120; history 2@118; from; subscribed 2/110; read o",
        "stored 1@120; from 110; absent",
    );
}

#[test]
fn h22_a_survivor_of_a_lost_epoch_is_no_news() {
    check_rule(
        "H22: rows of a replica that has what the new primary lacks; the real 120 would be skipped",
        Rule::FillLineage,
        "reset 3/117; epoch 4@118; change 4/118 x=1; fill o=7v120 @3/120; change 4/119 x=2; change 4/120 o=8; read o",
        "Continues; OlderEpoch; absent",
        "Continues; stored 7@120; 7@120",
    );
    check_rule(
        "H22: its log",
        Rule::EpochEnds,
        "open 3/117; epoch 4@118; tail 3/118 o=9; tail 4/118 o=2",
        "Continues; published []; published [118]",
        "Continues; published [118]; published []",
    );
    check(
        "its stream, its heartbeats, and its answers",
        "reset 3/117; epoch 4@118; change 3/118 o=1; subscribed 4/117; hb 3/119; subscribed 3/120; subscribed 3/117; read o; answer 3/118 o=1; read o",
        "Continues; Lost(OlderEpoch); Lost(OlderEpoch); Lost(OlderEpoch); absent; absent",
    );
}

#[test]
fn a_promotion_that_loses_nothing_costs_nothing() {
    check(
        "the log goes on, in one ring",
        "open 10; fill o=1v9 @10; tail 11 x=1; epoch 2@12; read o; tail 2/12 o=2; read o >=1/11; after 1/10; after 1/11; after 1/12; after 2/12; after 3/1",
        "stored 1@10; published [11]; Continues; 1@11; published [12]; 2@12; replay [11, 12]; replay [12]; reset to 12; replay []; wait",
    );
    check(
        "an own commit that comes before the log tells of its epoch; its key goes to the database till then",
        "open 10; fill o=1v9 @10; fill x=1v9 @10; commit 2/12 o=2; read o; read x; need o; epoch 2@11; tail 2/11 y=1; need o; after 1/10",
        "stored 1@10; stored 1@10; published []; absent; 1@10; need 2/12; Continues; published [11 12]; need 2/12; replay [11, 12]",
    );
    check(
        "own commits of a lost epoch that waited for one that never came",
        "open 116; commit 119 o=1; epoch 2@117; tail 2/117 x=1; tail 2/118 x=2; tail 2/119 o=2; after 1/116",
        "published []; Flushed; published [117]; published [118]; published [119]; replay [117, 118, 119]",
    );
    check(
        "an epoch is told twice",
        "open 2/10; epoch 2@5; epoch 1@1; lineage 1/4; lineage 2/10",
        "Known; Known; 1/4 lost, end unknown; same",
    );
}

#[test]
fn an_epoch_behind_a_gap() {
    check(
        "changes before the epoch never came",
        "reset 110; fill o=1v9 @110; epoch 2@118; read o; from; change 2/118",
        "stored 1@110; Gap; no stream; from 110; Ignored",
    );
    check(
        "no stream: it is learned, and nothing is served for it",
        "reset 110; fill o=1v9 @110; lost; epoch 2@109; from; read o; subscribed 2/108; read o",
        "stored 1@110; Learned; from 108; no stream; absent",
    );
    check(
        "a stream that speaks of an epoch that it has not told of",
        "reset 2/10; change 1/11 o=1; subscribed 2/10; hb 3/10; subscribed 2/10; change 3/11; read o >=3/1",
        "Lost(OlderEpoch); Lost(NewerEpoch); Lost(NewerEpoch); other epoch",
    );
    check(
        "a token of an epoch not heard of",
        "reset 2/10; fill o=1v9 @2/10; read o >=3/1; lost; read o >=3/1; read o >=2/1",
        "stored 1@10; other epoch; other epoch; no stream",
    );
}

#[test]
fn histories() {
    check_rule(
        "R19: the epoch between, which began at 95, is not in what came",
        Rule::WholeHistory,
        "reset 100; fill o=1v99 @100; answer 105 x=1; lost; history 3@111; from; floor x; reset 3/115; read o",
        "stored 1@100; from nothing; floor 105; absent",
        "stored 1@100; from 100; floor 105; absent",
    );
    check(
        "with it, it is known what stays",
        "reset 100; fill o=1v99 @100; lost; history 1@1 2@95 3@111; from; lineage 1/94 2/110 3/200; lineage 3/1 1/95; lineage 2/111 4/1; lineage 4/1; lineage 0/1",
        "stored 1@100; from 94; same; 1/95 lost, end 94; 2/111 lost, end 110; 4/1 newer than 3; 0/1 lost, end unknown",
    );
    check(
        "the very next epoch can't hide another",
        "reset 100; fill o=1v99 @100; lost; history 2@101; from; subscribed 2/100; read o",
        "stored 1@100; from 100; 1@100",
    );
    check(
        "an epoch that was lost whole left its predecessor shorter, too",
        "history 1@1 2@101; reset 2/105; epoch 3@96; lineage 1/95 2/95; lineage 1/98; lineage 2/96",
        "Flushed; same; 1/98 lost, end 95; 2/96 lost, end 95",
    );
    check(
        "where this node came in is not where the epoch began, until somebody says so",
        "reset 2/100; lineage 1/5; history 1@1 2@90; lineage 1/89; lineage 1/90; history 2@0; lineage 1/89; history 1@1; lineage 1/89",
        "1/5 lost, end unknown; same; 1/90 lost, end 89; same; same",
    );
    check(
        "who knows no epoch knows nothing to be of its history",
        "lineage 1/1; lineage",
        "1/1 newer than 0; same",
    );
}

#[test]
fn h24_h25_sessions_never_go_back() {
    check(
        "H24, H25: a tier that lags, or was restored, does not answer for less than the session has seen",
        "reset 1/100; fill o=1v90 @1/100; read o >=1/120; read o >=2/101; lineage 1/120; lineage 2/101",
        "stored 1@100; stale for the token; other epoch; same; 2/101 newer than 1",
    );
    check(
        "H25: what one read shows is the token of the next, in the epoch that the node is in",
        "reset 1/100; epoch 2@101; fill o=1v90 @1/100; read o >=2/100; read o >=2/101",
        "Continues; stored 1@100; 1@100; stale for the token",
    );
}

#[test]
fn r15_what_was_shown_of_an_epoch_not_heard_of() {
    check(
        "the key is nobody's here until the epoch is known, then the floor holds",
        "reset 10; fill o=1v9 @10; promise o 2/12; read o; need o; fill o=1v9 @10; answer 10 o=1; answer 11 o=1; read o; epoch 2@11; need o; fill o=1v9 @10; fill o=2v12 @2/12",
        "stored 1@10; absent; need 2/12; NewerEpoch; absent; Continues; need 2/12; BelowFloor 1@10; stored 2@12",
    );
    check(
        "it was lost in turn, or lost before it came",
        "reset 10; promise o 2/15; history 1@1 2@11 3@13; need o; promise o 2/14; need o; promise o 1/11; need o",
        "need 3/12; need 3/12; need 3/12",
    );
    check(
        "it comes with a reset",
        "reset 10; promise o 2/15; reset 2/14; need o; fill o=1v9 @2/14; forget; reset 2/15; need o",
        "need 2/15; BelowFloor 1@14; need 2/15",
    );
}

/// A node that met its epoch in an answer tells of it without its start.
#[test]
fn h19_an_epoch_whose_start_is_unknown_ends_none() {
    let start = |epoch, seq| EpochStart { epoch: Epoch(epoch), first_seq: Seq(seq) };
    let unknown = Err(LineageProblem::Lost { position: at(2, 50), end: None });
    let mut core = ShardCore::new(SHARD, options(None));
    core.learn_history(&[start(1, 1), start(2, 19)]);
    core.on_reset(at(2, 50));
    core.learn_history(&[start(3, 0)]);
    assert_eq!((core.check_lineage(&[at(2, 50)]), core.knows_history()), (unknown, false));
    core.learn_history(&[start(1, 1), start(2, 19), start(3, 51)]);
    assert_eq!((core.check_lineage(&[at(2, 50)]), core.knows_history()), (Ok(()), true));
    core.learn_history(&[start(3, 0)]);
    assert_eq!(core.check_lineage(&[at(2, 50)]), Ok(()), "what was known stays");
}
