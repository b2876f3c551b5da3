//! Changes to prefixes (R14, H18).

use super::super::rules::Rule;
use super::script::{check, check_rule};

#[test]
fn h18_prefix_holes() {
    check_rule(
        "H18: X moves below the boundary, past an edge that is not cached",
        Rule::Boundary,
        "reset 10; fill l9=4:A90,B80,X70 @10; change 11 l9>4:X60; read l",
        "stored 4:A90,B80,X70@10; 4:A90,B80@11",
        "stored 4:A90,B80,X70@10; 4:A90,B80,X60@11",
    );
    check_rule(
        "H18: a prefix emptied by deletes covers nothing",
        Rule::Boundary,
        "reset 10; fill l9=2:A90 @10; change 11 l9>1:A-; read l; change 12 l11>2:C50; read l",
        "stored 2:A90@10; 1:@11; 2:@12",
        "stored 2:A90@10; 1:@11; 2:C50@12",
    );
}

#[test]
fn changes_within_a_prefix() {
    let case = |name: &str, fill: &str, change: &str, expected: &str| {
        let script = format!("reset 10; fill {fill} @10; change 11 {change}; read l");
        let stored = fill.split_once('=').unwrap().1;
        check(name, &script, &format!("stored {stored}@10; {expected}@11"));
    };
    case("newest first", "l9=2:A90,B80", "l9>3:C99", "3:C99,A90,B80");
    case("ties go by id, descending", "l9=2:C90,A90", "l9>3:B90", "3:C90,B90,A90");
    case("into the middle", "l9=5:A90,B80", "l9>6:C85", "6:A90,C85,B80");
    case("at the boundary's own place, above it", "l9=5:A90,B80", "l9>6:C80", "6:A90,C80,B80");
    case("below the boundary of a part: not known", "l9=5:A90,C80", "l9>6:B80", "6:A90,C80");
    case("below the end of a complete list", "l9=2:A90,C80", "l9>3:B80", "3:A90,C80,B80");
    case("the boundary's edge moves up", "l9=5:A90,B80", "l9>5:B95", "5:B95,A90");
    case("the boundary's edge goes", "l9=5:A90,B80", "l9>4:B-", "4:A90");
    case("an edge not cached goes", "l9=5:A90,B80", "l9>4:D-", "4:A90,B80");
    case("an edge not cached comes in by a new time", "l9=5:A90,B80", "l9>5:D85", "5:A90,D85,B80");
    case("several at once, by the old boundary", "l9=5:A90,B80", "l9>5:A-,C85,B-,D80,E70,F-", "5:C85,D80");
    case("the last goes", "l9=1:A90", "l9>0:A-", "0:");
    case("the first comes", "l0=0:", "l0>1:A90", "1:A90");
    case("too long: the oldest is cut", "l9=3:A90,B80,C70", "l9>4:D85", "4:A90,D85,B80");
    case("complete again when the rest is deleted", "l9=3:A90,B80", "l9>2:D-", "2:A90,B80");
}

#[test]
fn a_list_that_was_not_what_it_claimed_is_dropped() {
    check(
        "a complete list that misses an edge",
        "reset 10; fill l9=1:A90 @10; change 11 l9>3:B80; read l",
        "stored 1:A90@10; absent",
    );
    check(
        "more edges than the count",
        "reset 10; fill l9=3:A90,B80 @10; change 11 l9>2:C85; read l",
        "stored 3:A90,B80@10; absent",
    );
}
