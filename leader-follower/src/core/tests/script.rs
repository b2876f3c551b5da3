//! Histories as text. Commands are separated by `;`:
//!
//! ```text
//! open N | reset N | subscribed N | hb N | lost | forget | from        events; N is [epoch/]seq, epoch 1 if unnamed
//! replaying N | opened N | visible N | held | log_lost                 of a leader's log
//! epoch E@FIRST | history E@FIRST.. | lineage N..                      epochs
//! change N ITEM.. | commit N ITEM.. | answer N ITEM..                  a change: stream, leader, write's answer
//! tail N ITEM.. | unseen N ITEM..                                      from the log: committed, not known to be
//! fill BODY @N | gone BODY @N                                          rows read at N, shard serving or gone
//! read KEY [>=N] | evict KEY | after N                                 N of `after` may be `-`: nothing
//! raise KEY N | shown KEY N | promise KEY N | floor KEY | need KEY     floors
//! ```
//!
//! `KEY`: `o`, `l` (any other letter: another object). `ITEM`: `o=5` (set to 5), `o-` (deleted), `lPREV>COUNT:A90,B-`
//! (edge A set at time 90, B deleted). `BODY`: `o=5v12` (version 12), `o-`, `l12=3:A90,B80` (version 12, count 3).

use std::sync::Arc;

use bytes::Bytes;
use tao_schema::edges::PackedEdgesBuilder;
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{Epoch, ObjectId, ObjectType, Position, Seq, Time};
use tao_schema::rows::{
    ChangeItem, EdgeValue, EpochStart, ListChange, ListRow, ObjectRow, ShardChange, ShardState,
};

use super::super::{
    Body, Entries, Entry, Filled, Key, LineageProblem, Lookup, Published, RingAnswer, ShardCore,
    StreamVerdict,
};
use super::{LIST, LIST_KEY, MapEntries, OBJECT, Rule, SHARD, at, options};

/// Runs a script and compares what its commands said, in order, those that said nothing left out.
#[track_caller]
pub(super) fn check(name: &str, script: &str, expected: &str) {
    assert_eq!(run(None, script), expected, "{name}: {script}");
}

/// As [`check`], and shows that without `rule` the history goes as in `broken`.
#[track_caller]
pub(super) fn check_rule(name: &str, rule: Rule, script: &str, expected: &str, broken: &str) {
    assert_ne!(expected, broken, "{name}: the rule must make a difference");
    check(name, script, expected);
    assert_eq!(run(Some(rule), script), broken, "{name} without {rule:?}: {script}");
}

fn run(without: Option<Rule>, script: &str) -> String {
    let mut core = ShardCore::new(SHARD, options(without));
    let entries = MapEntries::default();
    let said: Vec<String> = script
        .split(';')
        .map(|command| step(&mut core, &entries, command))
        .filter(|said| !said.is_empty())
        .collect();
    said.join("; ")
}

fn step(core: &mut ShardCore, entries: &MapEntries, command: &str) -> String {
    let mut words = command.split_whitespace();
    let verb = words.next().expect("a command");
    let rest: Vec<&str> = words.collect();
    match verb {
        "open" => core.open(position(rest[0])).map_or_else(|_| "backwards".into(), |()| String::new()),
        "reset" => verdict(core.on_reset(position(rest[0]))),
        "leader_reset" => core
            .reset(position(rest[0]), entries)
            .map_or_else(|_| "backwards".into(), |done| published(&done)),
        "subscribed" => verdict(core.on_subscribed(position(rest[0]))),
        "hb" => verdict(core.on_heartbeat(position(rest[0]))),
        "change" => verdict(core.on_change(change(&rest), entries)),
        "epoch" => format!("{:?}", core.on_epoch(start(rest[0]), entries)),
        "history" => {
            core.learn_history(&rest.iter().map(|text| start(text)).collect::<Vec<_>>());
            String::new()
        }
        "commit" => published(&core.on_commit(change(&rest), entries)),
        "tail" | "unseen" => published(&core.on_tailed(change(&rest), verb == "tail", entries)),
        "visible" => published(&core.on_visible(position(rest[0]), entries)),
        "answer" => {
            core.on_answer(&change(&rest), entries);
            String::new()
        }
        "fill" | "gone" => {
            let (key, body) = body(rest[0]);
            let state = if verb == "gone" { ShardState::Gone } else { ShardState::Serving };
            filled(&core.on_fill(key, position(&rest[1][1..]), state, body, entries))
        }
        "read" => {
            let token = rest.get(1).map(|token| position(token.trim_start_matches(">=")));
            read(&core.lookup(entries, &key(rest[0]), token))
        }
        "from" => {
            core.subscribe_from().map_or_else(|| "from nothing".into(), |from| format!("from {}", from.seq))
        }
        "after" => ring((rest[0] != "-").then(|| position(rest[0])), core),
        "opened" => core
            .opened_at(position(rest[0]), entries)
            .map_or_else(|_| "backwards".into(), |there| if there { "there" } else { "anew" }.into()),
        "replaying" => {
            core.open_replaying(position(rest[0])).map_or_else(|_| "backwards".into(), |()| String::new())
        }
        "floor" | "need" | "held" | "lineage" => asked(core, verb, &rest),
        _ => {
            quiet(core, entries, verb, &rest);
            String::new()
        }
    }
}

fn asked(core: &ShardCore, verb: &str, rest: &[&str]) -> String {
    match verb {
        "floor" => format!("floor {}", core.floor(&key(rest[0]))),
        "need" => format!("need {}", brief(core.need(&key(rest[0])))),
        "held" => core.held().map_or_else(|| "held nothing".into(), |held| format!("held {}", brief(held))),
        _ => {
            let positions: Vec<Position> = rest.iter().map(|text| position(text)).collect();
            match core.check_lineage(&positions) {
                Ok(()) => "same".into(),
                Err(LineageProblem::Lost { position, end }) => {
                    let end = end.map_or_else(|| "unknown".into(), |end| end.to_string());
                    format!("{} lost, end {end}", brief(position))
                }
                Err(LineageProblem::Newer { position, ours }) => {
                    format!("{} newer than {ours}", brief(position))
                }
            }
        }
    }
}

fn brief(position: Position) -> String {
    format!("{}/{}", position.epoch, position.seq)
}

fn quiet(core: &mut ShardCore, entries: &MapEntries, verb: &str, rest: &[&str]) {
    match verb {
        "lost" => core.on_lost(),
        "forget" => core.forget(),
        "log_lost" => core.on_log_lost(),
        "evict" => entries.remove(&key(rest[0])),
        "raise" => core.raise_floor(key(rest[0]), Seq(number(rest[1])), entries),
        "promise" => core.promise(key(rest[0]), position(rest[1]), entries),
        "shown" => core.shown(key(rest[0]), Seq(number(rest[1])), entries),
        _ => panic!("unknown command {verb}"),
    }
}

fn verdict(verdict: StreamVerdict) -> String {
    match verdict {
        StreamVerdict::Applied => String::new(),
        other => format!("{other:?}"),
    }
}

fn published(published: &Published) -> String {
    let seqs: Vec<String> = published.changes.iter().map(|change| change.seq.to_string()).collect();
    format!("published [{}]{}", seqs.join(" "), if published.gap { " gap" } else { "" })
}

fn filled(filled: &Filled) -> String {
    match filled {
        Filled::Stored(entry) => format!("stored {}", show(entry, entry.as_of())),
        Filled::AnswerOnly(entry, why) => format!("{why:?} {}", show(entry, entry.as_of())),
        Filled::Discarded(why) => format!("{why:?}"),
    }
}

fn read(lookup: &Lookup) -> String {
    match lookup {
        Lookup::Hit { entry, as_of } => show(entry, as_of.seq),
        Lookup::Miss(why) => why.name().into(),
    }
}

fn ring(from: Option<Position>, core: &ShardCore) -> String {
    match core.ring_after(from) {
        RingAnswer::Replay(changes) => {
            format!("replay {:?}", changes.iter().map(|change| change.seq).collect::<Vec<_>>())
        }
        RingAnswer::Wait => "wait".into(),
        RingAnswer::Reset => format!("reset to {}", core.watermark()),
    }
}

pub(super) fn show(entry: &Entry, as_of: Seq) -> String {
    match &entry.body() {
        Body::Object(None) => format!("none@{as_of}"),
        Body::Object(Some(row)) => format!("{}@{as_of}", row.fields.0[0]),
        Body::List(list) => {
            let edges: Vec<String> =
                list.edges.iter().map(|edge| format!("{}{}", letter(edge.id2), edge.time)).collect();
            format!("{}:{}@{as_of}", list.count, edges.join(","))
        }
    }
}

fn letter(id: ObjectId) -> char {
    char::from(id.0 as u8)
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("a number: {text}"))
}

fn position(text: &str) -> Position {
    match text.split_once('/') {
        Some((epoch, seq)) => at(number(epoch) as u32, number(seq)),
        None => at(1, number(text)),
    }
}

/// `EPOCH@FIRST_SEQ`.
fn start(text: &str) -> EpochStart {
    let (epoch, first_seq) = text.split_once('@').expect("EPOCH@FIRST_SEQ");
    EpochStart { epoch: Epoch(number(epoch) as u32), first_seq: Seq(number(first_seq)) }
}

fn key(text: &str) -> Key {
    match text {
        "o" => OBJECT,
        "l" => LIST,
        other => Key::Object(ObjectId::new(SHARD, u64::from(other.as_bytes()[0]))),
    }
}

fn object_id(text: &str) -> ObjectId {
    match key(text) {
        Key::Object(id) => id,
        Key::List(_) => panic!("an object: {text}"),
    }
}

fn change(words: &[&str]) -> Arc<ShardChange> {
    let Position { shard, epoch, seq } = position(words[0]);
    let items = words[1..].iter().map(|word| item(word, seq)).collect();
    Arc::new(ShardChange { shard, epoch, seq, items })
}

fn item(word: &str, seq: Seq) -> ChangeItem {
    if let Some((object, tag)) = word.split_once('=') {
        return ChangeItem::Object { id: object_id(object), row: Some(row(number(tag), seq)) };
    }
    if let Some(list) = word.strip_prefix('l') {
        let (prev, rest) = list.split_once('>').expect("lPREV>COUNT:EDGES");
        let (count, edges) = rest.split_once(':').expect("lPREV>COUNT:EDGES");
        let edges = edges
            .split(',')
            .map(|edge| {
                (ObjectId(u64::from(edge.as_bytes()[0])), (&edge[1..] != "-").then(|| value(&edge[1..])))
            })
            .collect();
        let prev_version = Seq(number(prev));
        return ChangeItem::List(ListChange { key: LIST_KEY, prev_version, count: number(count), edges });
    }
    ChangeItem::Object { id: object_id(word.trim_end_matches('-')), row: None }
}

fn value(time: &str) -> EdgeValue {
    EdgeValue { time: Time(number(time) as u32), fields: EncodedFields::new() }
}

fn row(tag: u64, version: Seq) -> ObjectRow {
    ObjectRow { otype: ObjectType(1), version, fields: EncodedFields(Bytes::from(vec![tag as u8])) }
}

pub(super) fn body(word: &str) -> (Key, Body) {
    if let Some(list) = word.strip_prefix('l') {
        let (version, rest) = list.split_once('=').expect("lVERSION=COUNT:EDGES");
        let (count, edges) = rest.split_once(':').expect("lVERSION=COUNT:EDGES");
        let mut packed = PackedEdgesBuilder::default();
        for edge in edges.split(',').filter(|edge| !edge.is_empty()) {
            packed.push(ObjectId(u64::from(edge.as_bytes()[0])), Time(number(&edge[1..]) as u32), b"");
        }
        let (count, version) = (number(count), Seq(number(version)));
        return (LIST, Body::List(ListRow { count, version, edges: packed.finish() }));
    }
    match word.split_once('=') {
        Some((object, rest)) => {
            let (tag, version) = rest.split_once('v').expect("o=TAGvVERSION");
            (key(object), Body::Object(Some(row(number(tag), Seq(number(version))))))
        }
        None => (key(word.trim_end_matches('-')), Body::Object(None)),
    }
}
