//! One history for each rule and each hole that it closes.

use super::super::rules::Rule;
use super::script::{check, check_rule};

#[test]
fn h7_own_commit_waits_for_a_strangers() {
    check_rule(
        "H7: 13 is ours, 12 another leader's",
        Rule::Contiguous,
        "open 11; fill o=1v9 @11; commit 13 x=3; commit 12 o=2; read o",
        "stored 1@11; published []; published [12 13]; 2@13",
        "stored 1@11; published [13]; published []; 1@13",
    );
    check(
        "R6: what waits is bounded, then a reset goes on",
        "open 11; fill o=1v9 @11; commit 14 x=1; commit 15 x=1; commit 16 x=1; leader_reset 14; read o; commit 16 x=1; after 14",
        "stored 1@11; published []; published []; published [] gap; published [15]; absent; published [16]; replay [15, 16]",
    );
    check(
        "R6: duplicates, and changes of an epoch that has ended",
        "open 2/11; commit 2/11 o=2; commit 1/12 o=3; commit 3/12 o=4",
        "published []; published []; published []",
    );
    check(
        "a leader does not open behind what it knows",
        "open 11; open 9; open 2/9; from",
        "backwards; from 9",
    );
    check(
        "an own commit that waits is what its writer reads",
        "open 11; fill o=1v9 @11; commit 13 o=3; read o; read o >=13; read x >=13",
        "stored 1@11; published []; 3@13; 3@13; absent",
    );
}

#[test]
fn h9_a_heartbeat_names_the_seq_that_it_follows() {
    check_rule(
        "H9: change 11, the last before a silence, was lost",
        Rule::HeartbeatSeq,
        "reset 10; fill o=1v9 @10; hb 11; read o; subscribed 11; read o; change 11 o=2; read o",
        "stored 1@10; Lost(MissedByHeartbeat); no stream; no stream; 2@11",
        "stored 1@10; 1@10; no stream; 2@11",
    );
    check("a heartbeat of what is known", "reset 10; hb 10; hb 9; lost; hb 12; hb 2/9", "Ignored; Ignored");
}

#[test]
fn h13_old_news_never_overwrites_new() {
    check_rule(
        "H13: absent at 20, while the stream brings its creation at 16",
        Rule::AbsenceCounts,
        "reset 15; fill o- @20; change 16 o=6; read o; read o >=20",
        "stored none@20; none@20; none@20",
        "stored none@20; 6@16; stale for the token",
    );
    check_rule(
        "R13: an answer that comes after what followed it",
        Rule::OldChanges,
        "reset 10; fill o=1v9 @10; change 11 o=2; change 12 o=3; answer 11 o=2; read o",
        "stored 1@10; 3@12",
        "stored 1@10; 2@12",
    );
    check_rule(
        "R13: a list change whose previous version is another",
        Rule::PreviousVersion,
        "reset 10; fill l9=1:A90 @10; answer 12 l11>3:C70; read l; change 11 l9>2:B80; change 12 l11>3:C70; read l",
        "stored 1:A90@10; absent; absent",
        "stored 1:A90@10; 3:A90,C70@12; 3:A90,C70@12",
    );
    check_rule(
        "R13: counts are absolute: B was below the prefix",
        Rule::AbsoluteCount,
        "reset 10; fill l9=3:D90 @10; change 11 l9>3:B40; change 12 l11>2:B-; read l",
        "stored 3:D90@10; 2:D90@12",
        "stored 3:D90@10; 4:D90@12",
    );
}

#[test]
fn h13_an_empty_list_counts_by_its_as_of() {
    check_rule(
        "H13: an empty list at 20, while the stream brings at 16 an edge that was deleted since",
        Rule::AbsenceCounts,
        "reset 15; fill l0=0: @20; change 16 l0>1:A90; read l; read l >=20",
        "stored 0:@20; 0:@20; 0:@20",
        "stored 0:@20; 1:A90@16; stale for the token",
    );
    check(
        "with the count row kept, versions tell",
        "reset 10; fill l9=0: @12; change 11 l9>1:A90; read l; answer 13 l11>1:B80; read l",
        "stored 0:@12; 0:@12; absent",
    );
}

#[test]
fn h14_a_hot_key_is_stored() {
    check_rule(
        "H14: written faster than a fill takes",
        Rule::RollForward,
        "reset 10; change 11 o=2; change 12 l0>1:A90 o=3; fill o=1v9 @10; read o",
        "stored 3@12; 3@12",
        "stored 1@10; 1@12",
    );
    check_rule(
        "R12: the ring no longer has all changes since",
        Rule::RingReaches,
        "reset 10; change 11 o=2; change 12 x=1; change 13 x=2; change 14 x=3; fill o=1v9 @10; read o; floor o; floor x",
        "RingTooShort 1@10; absent; floor 11; floor 14",
        "stored 1@14; 1@14; floor 11; floor 14",
    );
    check(
        "a list is rolled forward, or does not fit",
        "reset 10; change 11 l9>2:B80; fill l9=1:A90 @10; evict l; fill l8=1:A90 @10",
        "stored 2:A90,B80@11; DoesNotFit 1:A90@10",
    );
}

#[test]
fn r12_fills() {
    check_rule(
        "H32: rows of a shard that has left look absent",
        Rule::FillState,
        "reset 10; gone o- @10; read o",
        "Unreadable(Gone); absent",
        "stored none@10; none@10",
    );
    check_rule(
        "H19: a late fill of a lost epoch",
        Rule::FillLineage,
        "reset 1/100; epoch 2@99; fill o=1v120 @1/120; change 2/99 o=9; read o",
        "Flushed; OlderEpoch; absent",
        "Flushed; stored 1@120; 1@120",
    );
    check(
        "a fill of an epoch not heard of; of one that is the same lineage",
        "reset 10; fill o=1v9 @2/11; epoch 2@11; reset 2/11; fill o=1v9 @1/10; fill o=1v9 @1/11",
        "NewerEpoch; Continues; RingTooShort 1@10; OlderEpoch",
    );
    check(
        "same version: the deeper prefix stays, the further proof too",
        "reset 10; fill l9=3:A90,B80 @10; fill l9=3:A90 @12; read l; fill l9=3:A90,B80,C70 @11; read l",
        "stored 3:A90,B80@10; stored 3:A90,B80@12; 3:A90,B80@12; stored 3:A90,B80,C70@12; 3:A90,B80,C70@12",
    );
    check(
        "a list is cut to what a cache keeps; the answer is whole",
        "reset 10; fill l9=5:A90,B80,C70,D60 @10; read l; change 11 l9>6:E85; read l",
        "stored 5:A90,B80,C70,D60@10; 5:A90,B80,C70@10; 6:A90,E85,B80@11",
    );
    check(
        "an entry that is right further stays",
        "reset 10; fill o=2v12 @13; fill o=2v12 @12; read o; fill o=1v9 @11; read o; evict o; fill o- @14; fill o=2v12 @13; read o",
        "stored 2@13; stored 2@13; 2@13; BelowFloor 1@11; 2@13; stored none@14; BelowFloor 2@13; none@14",
    );
    check(
        "without a subscription nothing is kept, but what was shown is a floor",
        "fill o=1v9 @10; read o; reset 8; read o; floor o; fill o=0v7 @8",
        "NoStream 1@10; no stream; absent; floor 9; BelowFloor 0@8",
    );
}

#[test]
fn h15_never_back_in_time() {
    check_rule(
        "H15: the subscriber is ahead of its leader",
        Rule::AheadWaits,
        "open 90; after 100; after 2/3; after 90",
        "wait; wait; replay []",
        "reset to 90; reset to 90; replay []",
    );
    check_rule(
        "H15: a Reset to less than is known",
        Rule::NeverBack,
        "reset 100; fill o=7v99 @100; reset 90; read o; from",
        "stored 7@100; Lost(Backwards); no stream; from 100",
        "stored 7@100; absent; from 90",
    );
    check(
        "the ring decides: replay, or reset",
        "open 10; commit 11 o=1; commit 12 o=2; commit 13 o=3; commit 14 o=4; after 11; after 14; after 10; after -; after 0/11",
        "published [11]; published [12]; published [13]; published [14]; replay [12, 13, 14]; replay []; reset to 14; reset to 14; reset to 14",
    );
}

#[test]
fn h16_an_absence_is_not_continuous() {
    check_rule(
        "H16: the shard was elsewhere while 11 changed it",
        Rule::ForgetVoids,
        "reset 10; fill o=1v9 @10; forget; from; read o; reset 12; read o; floor o",
        "stored 1@10; from nothing; no stream; absent; floor 12",
        "stored 1@10; from 10; 1@10; absent; floor 12",
    );
    check(
        "what was shown is a floor when it comes back",
        "reset 10; forget; reset 8; fill o=1v7 @9",
        "BelowFloor 1@9",
    );
    check_rule(
        "R16: a lost stream",
        Rule::LostTrust,
        "reset 10; fill o=1v9 @10; lost; read o; change 11 o=2; subscribed 11; read o; change 11 o=2; read o",
        "stored 1@10; no stream; Ignored; no stream; 2@11",
        "stored 1@10; 1@10; 2@11; Duplicate; 2@11",
    );
    check_rule(
        "R16: nothing is served before the leader's watermark is reached",
        Rule::CatchUp,
        "reset 10; fill o=1v9 @10; lost; subscribed 12; change 11 x=1; read o; change 12 o=2; read o",
        "stored 1@10; no stream; 2@12",
        "stored 1@10; 1@11; 2@12",
    );
    check_rule(
        "R16: a gap",
        Rule::Contiguous,
        "reset 10; fill o=1v9 @10; change 12 x=1; read o; from",
        "stored 1@10; Lost(Gap); no stream; from 10",
        "stored 1@10; 1@12; from 12",
    );
    check_rule(
        "R16: a reset voids every entry",
        Rule::ResetVoids,
        "reset 10; fill o=1v9 @10; reset 12; read o",
        "stored 1@10; absent",
        "stored 1@10; 1@12",
    );
}
