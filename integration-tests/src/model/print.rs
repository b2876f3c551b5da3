//! Steps as calls that a reader can paste into a test.

use std::fmt::Write as _;

use tao_schema::fields::{FieldKind, Value};
use tao_schema::graph_schema::{FieldDefs, GraphSchema};
use tao_schema::ids::{AssocType, FieldId, ObjectType};

use super::steps::{At, Edge, Expected, How, Op, Sets, Step};

/// A step as Rust.
pub(super) fn step(schema: &GraphSchema, step: &Step) -> String {
    let calls = |who: &str, how: How, ops: &[Op]| -> Vec<String> {
        ops.iter().map(|op| call(schema, who, how, op)).collect()
    };
    match step {
        Step::One(door, how, op) => format!("{}.send().await", call(schema, &door.to_string(), *how, op)),
        Step::Atomic(door, ops) => {
            together("atomic", &door.to_string(), &calls(&door.to_string(), How::Session, ops))
        }
        Step::Batch(door, ops) => {
            together("batch", &door.to_string(), &calls(&door.to_string(), How::Session, ops))
        }
        Step::Race(a, b) => {
            let run = |calls: Vec<String>| {
                calls.iter().map(|call| format!("{call}.send().await; ")).collect::<String>()
            };
            let (a, b) = (run(calls("a", How::Critical, a)), run(calls("b", How::Critical, b)));
            format!("tokio::join!(async {{ {a}}}, async {{ {b}}})")
        }
        Step::Resume(door) => format!("{door} = client.resume_session(&{door}.export())"),
    }
}

fn together(what: &str, who: &str, calls: &[String]) -> String {
    let adds: String = calls.iter().map(|call| format!(" {what}.add({call});")).collect();
    format!("let mut {what} = {who}.{what}();{adds} {what}.send().await")
}

fn call(schema: &GraphSchema, who: &str, how: How, op: &Op) -> String {
    let who = if how == How::Stranger && !op.is_write() { "client" } else { who };
    let assoc = |atype: AssocType| {
        schema.assoc_type(atype).map_or_else(|| format!("{atype}_u16"), |def| format!("{:?}", def.name))
    };
    let mut text = format!("{who}.");
    // Writing to a String cannot fail.
    let _ = match op {
        Op::ObjectAdd { at, otype, set } => {
            let at = match at {
                At::Id(name) => format!(".id({name})"),
                At::Near(name, kept) => format!(".near({name}) /* new{kept} */"),
            };
            write!(
                text,
                "object_add({}){at}{}",
                object(schema, *otype),
                sets(object_fields(schema, *otype), set)
            )
        }
        Op::ObjectUpdate { id, otype, set, clear, expected } => {
            let defs = object_fields(schema, *otype);
            let cleared: String = clear.iter().map(|id| format!(".clear({})", field(defs, *id))).collect();
            let set = sets(defs, set);
            write!(text, "object_update({id}, {}){set}{cleared}{}", object(schema, *otype), guard(*expected))
        }
        Op::ObjectDelete { id, expected } => write!(text, "object_delete({id}){}", guard(*expected)),
        Op::AssocAdd { edge: Edge { id1, atype, id2 }, time, set, create_only, expected } => {
            let set = sets(schema.assoc_type(*atype).map(|def| &def.fields), set);
            let only = if *create_only { ".create_only()" } else { "" };
            let guard = guard(*expected);
            write!(text, "assoc_add({id1}, {}, {id2}).time({time}){set}{only}{guard}", assoc(*atype))
        }
        Op::AssocDelete { edge: Edge { id1, atype, id2 }, expected } => {
            write!(text, "assoc_delete({id1}, {}, {id2}){}", assoc(*atype), guard(*expected))
        }
        Op::AssocChangeType { edge: Edge { id1, atype, id2 }, new_atype, expected } => {
            let (old, new) = (assoc(*atype), assoc(*new_atype));
            write!(text, "assoc_change_type({id1}, {old}, {id2}, {new}){}", guard(*expected))
        }
        Op::ObjectGet { id } => write!(text, "object_get({id}){}", freshness(how)),
        Op::AssocGet { id1, atype, id2s, high, low } => {
            let id2s: Vec<String> = id2s.iter().map(ToString::to_string).collect();
            let high = high.map_or(String::new(), |high| format!(".high({high})"));
            let low = low.map_or(String::new(), |low| format!(".low({low})"));
            let (atype, id2s) = (assoc(*atype), id2s.join(", "));
            write!(text, "assoc_get({id1}, {atype}, [{id2s}]){high}{low}{}", freshness(how))
        }
        Op::AssocCount { id1, atype } => {
            write!(text, "assoc_count({id1}, {}){}", assoc(*atype), freshness(how))
        }
        Op::AssocRange { id1, atype, pos, limit } => {
            write!(text, "assoc_range({id1}, {}).pos({pos}).limit({limit}){}", assoc(*atype), freshness(how))
        }
        Op::AssocTimeRange { id1, atype, high, low, limit } => {
            let atype = assoc(*atype);
            let how = freshness(how);
            write!(text, "assoc_time_range({id1}, {atype}).high({high}).low({low}).limit({limit}){how}")
        }
    };
    text
}

const fn freshness(how: How) -> &'static str {
    match how {
        How::Session => "",
        How::Master => ".consistency(Consistency::Master)",
        How::Bounded => ".consistency(Consistency::Bounded(Duration::ZERO))",
        How::Critical | How::Stranger => ".consistency(Consistency::Critical)",
    }
}

const fn guard(expected: Expected) -> &'static str {
    match expected {
        Expected::Nothing => "",
        Expected::Right => ".expected_version(/* the present one */)",
        Expected::Old => ".expected_version(/* the present one - 1 */)",
        Expected::Far => ".expected_version(Seq(u64::MAX >> 1))",
    }
}

fn object(schema: &GraphSchema, otype: ObjectType) -> String {
    schema.object_type(otype).map_or_else(|| format!("{otype}_u16"), |def| format!("{:?}", def.name))
}

fn object_fields(schema: &GraphSchema, otype: ObjectType) -> Option<&FieldDefs> {
    schema.object_type(otype).map(|def| &def.fields)
}

fn field(defs: Option<&FieldDefs>, id: FieldId) -> String {
    let known = defs.and_then(|defs| defs.get(id));
    known.map_or_else(|| format!("FieldId({id})"), |def| format!("{:?}", def.name))
}

fn sets(defs: Option<&FieldDefs>, set: &Sets) -> String {
    let one = |(id, value): &(FieldId, Value)| format!(".set({}, {})", field(defs, *id), literal(value));
    set.iter().map(one).collect()
}

fn literal(value: &Value) -> String {
    /// Longer texts are written as a repetition, which is what they are.
    const LONG: usize = 16;
    match value {
        Value::Text(text) if text.len() > LONG => {
            format!("{:?}.repeat({})", &text[..1], text.len())
        }
        Value::Text(text) => format!("{text:?}"),
        Value::Blob(bytes) if bytes.len() > LONG => format!("vec![{}_u8; {}]", bytes[0], bytes.len()),
        Value::Blob(bytes) => format!("vec!{:?} as Vec<u8>", &bytes[..]),
        Value::Int(value) => format!("{value}_i64"),
        Value::Float(value) => format!("{value:?}_f64"),
        Value::Bool(value) => value.to_string(),
    }
}

/// A long value of a kind, of so many bytes.
pub(super) fn long(kind: FieldKind, bytes: usize) -> Value {
    match kind {
        FieldKind::Blob => Value::Blob(vec![7; bytes].into()),
        _ => Value::Text("x".repeat(bytes)),
    }
}
