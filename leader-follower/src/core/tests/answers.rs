//! Answers of writes, and floors (R15, R18a).

use super::super::rules::Rule;
use super::script::{check, check_rule};

#[test]
fn h17_floors_outlive_the_cache() {
    check_rule(
        "R15: the writer's answer leaves a floor; a slower fill is not stored below it",
        Rule::AnswerFloor,
        "reset 10; answer 12 l9>1:A90; floor l; fill l9=0: @11; read l; change 11 x=1; change 12 l9>1:A90; floor l",
        "floor 12; BelowFloor 0:@11; absent; floor 12",
        "floor 10; stored 0:@11; 0:@11; floor 12",
    );
    check_rule(
        "R15: stored below a floor, it would be shown",
        Rule::StoreFloor,
        "reset 10; answer 12 l9>1:A90; fill l9=0: @11; read l",
        "BelowFloor 0:@11; absent",
        "stored 0:@11; 0:@11",
    );
    check_rule(
        "R15: shown ahead of the watermark, evicted, asked again",
        Rule::ShownFloor,
        "reset 10; fill o=2v12 @13; evict o; floor o; fill o=1v9 @11; read o",
        "stored 2@13; floor 12; BelowFloor 1@11; absent",
        "stored 2@13; floor 10; stored 1@11; 1@11",
    );
    check_rule(
        "H17: too many floors become one, they are not forgotten",
        Rule::Collapse,
        "reset 10; answer 12 l9>1:A90; answer 14 x=1; answer 15 y=1; floor l; fill l9=0: @11",
        "floor 14; BelowFloor 0:@11",
        "floor 10; stored 0:@11",
    );
    check_rule(
        "R15: a fill asks for what the ring has seen",
        Rule::AskFloor,
        "reset 10; change 11 o=2; floor o; floor x; change 12 x=1; change 13 x=1; change 14 x=1; floor o",
        "floor 11; floor 10; floor 11",
        "floor 0; floor 0; floor 0",
    );
}

/// The model of the whole API found that a reader who had seen 11 was refused here.
#[test]
fn a_fill_of_what_is_held_says_how_far_it_is_right() {
    check(
        "R12: the entry is as it was, and right at the fill's position",
        "reset 10; fill o=1v9 @10; change 11 x=1; fill o=1v9 @11; read o",
        "stored 1@10; stored 1@11; 1@11",
    );
}

#[test]
fn floors_live_until_the_watermark_passes() {
    check(
        "and then fills are stored again",
        "reset 10; raise o 12; fill o=1v9 @11; change 11 x=1; change 12 o=3; fill o=3v12 @12",
        "BelowFloor 1@11; stored 3@12",
    );
    check(
        "a floor drops the entry below it: a hit needs no look at floors",
        "reset 10; fill o=1v9 @10; raise o 12; read o; fill o=3v12 @12; read o",
        "stored 1@10; absent; stored 3@12; 3@12",
    );
    check(
        "an entry at the floor stays",
        "reset 10; fill o=3v12 @13; raise o 13; read o",
        "stored 3@13; 3@13",
    );
    check(
        "a deep page that was passed on",
        "reset 10; fill l9=3:A90 @10; shown l 12; read l; floor l",
        "stored 3:A90@10; absent; floor 12",
    );
    check(
        "no floor at or below the watermark",
        "reset 10; raise o 10; shown o 9; fill o=1v9 @10",
        "stored 1@10",
    );
}

#[test]
fn r18a_answers() {
    check_rule(
        "two writes to one list share a seq: half of them must not pass for all",
        Rule::WholeChange,
        "reset 10; fill l9=1:A90 @10; answer 11 l9>3:B80,C70; read l; change 11 l9>3:B80,C70; read l",
        "stored 1:A90@10; 3:A90,B80,C70@11; 3:A90,B80,C70@11",
        "stored 1:A90@10; 3:A90,B80@11; 3:A90,B80@11",
    );
    check_rule(
        "what an answer brings is a fill like any other",
        Rule::AnswerIsFill,
        "reset 10; change 11 o=2; change 12 o=3; change 13 o-; answer 11 o=2; read o",
        "none@13",
        "2@13",
    );
    check(
        "an answer ahead of the stream is the writer's own read",
        "reset 10; answer 12 o=2; read o; read o >=12; change 11 o=1; read o; change 12 o=2; read o",
        "2@12; 2@12; 2@12; 2@12",
    );
    check(
        "an answer of an epoch not heard of: its key is nobody's here until the epoch is known",
        "reset 10; fill o=1v9 @10; fill x=1v9 @10; answer 2/11 o=2; read o; read x; need o; fill o=1v9 @10; epoch 2@11; need o; fill o=1v9 @10; fill o=2v11 @2/11",
        "stored 1@10; stored 1@10; absent; 1@10; need 2/11; NewerEpoch; Continues; need 2/11; BelowFloor 1@10; stored 2@11",
    );
}
