//! What an entry answers (R14).

use tao_schema::ids::{ObjectId, Seq, Time};
use tao_schema::ops::{Answer, ReadOp};

use super::super::{Entry, Serve, serve};
use super::script::{body, show};
use super::{LIST_KEY, OBJECT};

const LIMIT: u32 = 6;

/// `get A,B [HIGH..LOW]`, `range POS LIMIT`, `time HIGH LOW LIMIT`, `count`.
fn op(text: &str) -> ReadOp {
    let words: Vec<&str> = text.split_whitespace().collect();
    let number = |i: usize| words[i].parse::<u32>().unwrap();
    match words[0] {
        "count" => ReadOp::AssocCount(LIST_KEY),
        "range" => ReadOp::AssocRange { list: LIST_KEY, pos: number(1), limit: number(2) },
        "time" => ReadOp::AssocTimeRange {
            list: LIST_KEY,
            high: Time(number(1)),
            low: Time(number(2)),
            limit: number(3),
        },
        "get" => {
            let id2s = words[1].split(',').map(|id2| ObjectId(u64::from(id2.as_bytes()[0]))).collect();
            let (high, low) = words.get(2).map_or(("", ""), |bounds| bounds.split_once("..").unwrap());
            let time = |text: &str| text.parse().ok().map(Time);
            ReadOp::AssocGet { list: LIST_KEY, id2s, high: time(high), low: time(low) }
        }
        other => panic!("unknown op {other}"),
    }
}

#[track_caller]
fn case(list: &str, asked: &str, expected: &str) {
    let (_, body) = body(&format!("l9={list}"));
    let entry = Entry::new(0, Seq(9), &body);
    let said = match serve(&entry, &op(asked), LIMIT) {
        Serve::Answer(Answer::Count { count, version }) => format!("{count} v{version}"),
        Serve::Answer(Answer::Edges { edges, version }) => {
            assert_eq!(version, Seq(9));
            edges
                .iter()
                .map(|edge| format!("{}{}", char::from(edge.id2.0 as u8), edge.time))
                .collect::<Vec<_>>()
                .join(",")
        }
        Serve::Answer(answer) => panic!("{answer:?}"),
        Serve::NeedEdges(depth) => format!("need {depth}"),
        Serve::Through => "through".into(),
    };
    assert_eq!(said, expected, "{asked} of {list}");
}

#[test]
fn count_always() {
    case("900:", "count", "900 v9");
    case("2:B90,A80", "count", "2 v9");
}

#[test]
fn ranges() {
    case("4:D90,C80", "range 0 2", "D90,C80");
    case("4:D90,C80", "range 1 1", "C80");
    case("4:D90,C80", "range 0 3", "need 3");
    case("4:D90,C80", "range 1 9", "need 4");
    case("4:D90,C80", "range 4 9", "");
    case("4:D90,C80", "range 9 9", "");
    case("4:D90,C80", "range 0 0", "");
    case("2:D90,C80", "range 0 9", "D90,C80");
    case("0:", "range 0 9", "");
    case("4:", "range 0 1", "need 1");
    // The query limit caps an answer, and what is worth caching.
    case("9:G90,F80,E70,D60,C50,B40,A30", "range 0 9", "G90,F80,E70,D60,C50,B40");
    case("9:D90", "range 4 3", "through");
    case("9:D90", "range 4294967295 4294967295", "");
}

#[test]
fn time_ranges_claim_nothing_at_the_boundarys_own_time() {
    case("4:D90,C80", "time 99 85 9", "D90");
    case("4:D90,C80", "time 89 81 9", "");
    // Another edge at 80 may lie below the boundary (H18).
    case("4:D90,C80", "time 99 80 9", "need 4");
    case("4:D90,C80", "time 99 80 2", "D90,C80");
    case("4:D90,C80", "time 85 70 1", "C80");
    case("4:D90,C80", "time 85 70 2", "need 3");
    case("2:D90,C80", "time 99 70 9", "D90,C80");
    case("2:D90,C80", "time 70 10 9", "");
    // How many edges are too new is not known.
    case("4:D90,C80", "time 70 60 1", "through");
    case("4:", "time 70 60 3", "need 3");
    case("0:", "time 70 60 3", "");
    case("4:", "time 60 70 3", "");
    case("4:", "time 70 60 0", "");
}

#[test]
fn gets_keep_list_order_and_prove_absence() {
    case("4:D90,C80", "get C,D", "D90,C80");
    case("4:D90,C80", "get C,C", "C80");
    case("4:D90,C80", "get A", "need 4");
    case("2:D90,C80", "get A,C", "C80");
    case("4:D90,C80", "get A,D ..85", "D90");
    case("4:D90,C80", "get A,D ..80", "need 4");
    case("4:D90,C80", "get C,D 85..", "C80");
    // Found out of bounds is proved, too: an edge is at most once in its list.
    case("4:D90,C80", "get D 85..80", "");
    case("0:", "get A", "");
    case("9:D90", "get A", "through");
}

#[test]
fn objects() {
    let ReadOp::ObjectGet(id) = (match OBJECT {
        super::Key::Object(id) => ReadOp::ObjectGet(id),
        super::Key::List(_) => panic!("OBJECT is one"),
    }) else {
        panic!("an object")
    };
    let entry = |word: &str| Entry::new(0, Seq(9), &body(word).1);
    let absent = serve(&entry("o-"), &ReadOp::ObjectGet(id), LIMIT);
    assert_eq!(absent, Serve::Answer(Answer::Object(None)));
    let found = entry("o=5v7");
    assert_eq!(show(&found, found.as_of()), "5@9");
    let Serve::Answer(Answer::Object(Some((found, row)))) = serve(&found, &ReadOp::ObjectGet(id), LIMIT)
    else {
        panic!("an object")
    };
    assert_eq!((found, row.version), (id, Seq(7)));
    // An entry of another kind says nothing.
    assert_eq!(serve(&entry("o-"), &op("count"), LIMIT), Serve::Through);
    assert_eq!(serve(&entry("l9=0:"), &ReadOp::ObjectGet(id), LIMIT), Serve::Through);
}
