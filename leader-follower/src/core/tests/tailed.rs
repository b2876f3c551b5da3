//! A leader's log: what is committed is published, and a start replays (R7, R17).

use super::super::rules::Rule;
use super::script::{check, check_rule};

#[test]
fn h8_what_nobody_has_seen_committed_is_not_shown() {
    check_rule(
        "H8: the log of a primary has 12 before it is committed",
        Rule::VisibleOnly,
        "open 11; fill o=1v9 @11; unseen 12 o=2; read o; held; visible 11; visible 12; read o; held",
        "stored 1@11; published []; 1@11; held 1/12; published []; published [12]; 2@12; held nothing",
        "stored 1@11; published [12]; 2@12; held nothing; published []; published []; 2@12; held nothing",
    );
    check_rule(
        "H10: the primary dies before it commits 120, and another 120 follows",
        Rule::VisibleOnly,
        "open 119; fill o=1v9 @119; unseen 120 o=7; unseen 120 o=8; visible 120; read o",
        "stored 1@119; published []; published []; published [120]; 8@120",
        "stored 1@119; published [120]; published []; published []; 7@120",
    );
    check(
        "H10: what comes in its place is committed, as all that a replica's log has",
        "open 119; fill o=1v9 @119; unseen 120 o=7; tail 120 o=8; read o",
        "stored 1@119; published []; published [120]; 8@120",
    );
    check(
        "H10: and a commit behind the other one comes before the log does",
        "open 119; unseen 120 o=7; log_lost; commit 121 x=1; held; tail 120 o=8",
        "published []; published []; held nothing; published [120 121]",
    );
    check(
        "or is committed by this leader",
        "open 119; fill o=1v9 @119; unseen 120 o=7; commit 120 o=8; read o; unseen 120 o=8; held",
        "stored 1@119; published []; published [120]; 8@120; published []; held nothing",
    );
    check(
        "on a replica everything is committed",
        "open 11; tail 12 o=2; held",
        "published [12]; held nothing",
    );
}

#[test]
fn h7_what_follows_a_change_proves_it() {
    check(
        "H7: 13 is ours, 12 another leader's: the row's lock came to us after it was committed",
        "open 11; fill o=1v9 @11; unseen 12 o=2; commit 13 x=3; read o; unseen 13 x=3; held",
        "stored 1@11; published []; published [12 13]; 2@13; published []; held nothing",
    );
    check(
        "our commit comes first, twice",
        "open 11; commit 13 x=3; commit 14 x=4; unseen 12 o=2; after 11",
        "published []; published []; published [12 13 14]; replay [12, 13, 14]",
    );
    check(
        "the log's next",
        "open 11; unseen 12 o=2; unseen 13 x=1; held; tail 14 x=2",
        "published []; published [12]; held 1/13; published [13 14]",
    );
    check(
        "an epoch that begins; what is beyond the end of the one before is lost",
        "open 11; unseen 12 o=2; epoch 2@13; after 1/11; unseen 2/13 o=3; epoch 3@13; held; unseen 3/13 o=4; visible 2/13; visible 3/13",
        "published []; Continues; replay [12]; published []; Continues; held nothing; published []; published []; published [13]",
    );
    check(
        "a row of an epoch that the log has not told of proves nothing here",
        "open 11; unseen 12 o=2; visible 2/13; held; unseen 2/13 o=3",
        "published []; published []; held 1/12; published [] gap",
    );
    check(
        "a reset at the row takes in what is held, up to there",
        "open 11; unseen 12 o=2; leader_reset 12; held; unseen 13 o=3; leader_reset 12; held; forget; held",
        "published []; published []; held nothing; published []; published []; held 1/13; held nothing",
    );
}

#[test]
fn h15_a_start_replays() {
    check(
        "H15: opened at the row, the ring is empty: every subscriber loses its cache",
        "open 13; after 11",
        "reset to 13",
    );
    check(
        "R17: replayed, it is full; nothing is served before it is known to be whole",
        "replaying 10; tail 11 o=1; fill o=1v11 @11; tail 12 x=1; unseen 13 x=2; read o; opened 13; read o; after 11; after 10",
        "published [11]; stored 1@11; published [12]; published []; no stream; there; 1@13; replay [12, 13]; replay [11, 12, 13]",
    );
    check_rule(
        "R17: what came does not reach the row",
        Rule::ReplayReaches,
        "replaying 10; tail 11 o=1; fill o=1v11 @11; opened 13; read o; from",
        "published [11]; stored 1@11; anew; absent; from 13",
        "published [11]; stored 1@11; there; 1@11; from 11",
    );
    check(
        "nothing was to be replayed: at the row; and again, where nothing has happened since",
        "opened 13; fill o=1v9 @13; lost; opened 13; read o; lost; opened 14; read o; opened 12",
        "anew; stored 1@13; there; 1@13; anew; absent; backwards",
    );
    check(
        "a log that was lost and is read again goes on where the cache stands",
        "open 15; fill o=1v9 @15; lost; replaying 10; tail 15 o=1; tail 16 o=2; read o; opened 16; read o; after 15",
        "stored 1@15; published []; published [16]; no stream; there; 2@16; replay [16]",
    );
    check(
        "one that begins later does not",
        "open 15; fill o=1v9 @15; lost; replaying 20; tail 21 x=2; opened 21; read o; after 20; replaying 0/1",
        "stored 1@15; published [21]; there; absent; replay [21]; backwards",
    );
    check(
        "through the beginning of an epoch, known from the survey or not",
        "history 1@1 2@12; replaying 1/10; tail 11 o=1; epoch 2@12; tail 2/12 x=1; opened 2/12; after 1/10; forget; replaying 2/10",
        "published [11]; Known; published [12]; there; replay [11, 12]",
    );
    check(
        "an own commit while it replays",
        "replaying 10; commit 13 o=1; tail 11 x=1; tail 12 x=2; opened 12; from",
        "published []; published [11]; published [12 13]; there; from 13",
    );
}
