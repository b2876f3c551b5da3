//! Objects and their ids.

use std::collections::BTreeSet;

use bytes::Bytes;
use tao_schema::error::ErrorCode;
use tao_schema::fields::{EncodedFields, Fields, Value};
use tao_schema::ids::{FieldId, ObjectId, ObjectType, Seq};
use tao_schema::limits::MAX_OBJECT_BYTES;
use tao_schema::ops::{Effect, Outcome};

use super::Verdict;
use super::bench::*;
use crate::write::{StoreOp, UnitDone};

fn update_if(id: ObjectId, otype: ObjectType, expected: Option<Seq>) -> StoreOp {
    StoreOp::ObjectUpdate {
        id,
        otype,
        set: text("new"),
        clear: vec![],
        max_bytes: MAX_OBJECT_BYTES,
        expected,
    }
}

fn delete_if(id: ObjectId, expected: Seq) -> StoreOp {
    StoreOp::ObjectDelete { id, expected: Some(expected) }
}

pub(super) async fn objects_are_added_updated_and_deleted(bench: &Bench) -> Verdict {
    let x = ObjectId::new(bench.shards[3], 77);
    let outcome = |effect| vec![Outcome { effect, id: Some(x) }];
    ensure_eq!(bench.ops(vec![add(x, text("a"))]).await?.outcomes, outcome(Effect::Created), "add");
    bench.refused(vec![add(x, text("b"))], ErrorCode::PreconditionFailed).await?;
    ensure_eq!(bench.ops(vec![update(x, text("c"))]).await?.outcomes, outcome(Effect::Updated), "update");
    let Some(row) = bench.object(x).await? else { return Err("the object is absent".into()) };
    ensure_eq!((row.otype, row.version, row.fields), (OTYPE, Seq(2), text("c")), "the object");
    ensure_eq!(bench.ops(vec![delete(x)]).await?.outcomes, outcome(Effect::Deleted), "delete");
    ensure_eq!(bench.object(x).await?, None, "the deleted object");
    ensure_eq!(bench.ops(vec![delete(x)]).await?.outcomes, outcome(Effect::Nothing), "second delete");
    bench.refused(vec![update(x, text("d"))], ErrorCode::NotFound).await?;
    bench.ops(vec![add(x, text("e"))]).await?;
    ensure_eq!(bench.object(x).await?.map(|row| row.version), Some(Seq(4)), "the version when added again");
    Ok(())
}

pub(super) async fn an_update_touches_a_subset(bench: &Bench) -> Verdict {
    let x = ObjectId::new(bench.shards[0], 1);
    let fields = |pairs: &[(u16, i64)]| -> EncodedFields {
        let pairs = pairs.iter().map(|(id, value)| (FieldId(*id), Value::Int(*value)));
        pairs.collect::<Fields>().encode()
    };
    bench.ops(vec![add(x, fields(&[(1, 10), (2, 20), (3, 30)]))]).await?;
    let op = StoreOp::ObjectUpdate {
        id: x,
        otype: OTYPE,
        set: fields(&[(2, -2), (9, i64::MIN)]),
        clear: vec![FieldId(3), FieldId(8)],
        max_bytes: MAX_OBJECT_BYTES,
        expected: None,
    };
    bench.ops(vec![op]).await?;
    let stored = bench.object(x).await?.map(|row| row.fields);
    ensure_eq!(stored, Some(fields(&[(1, 10), (2, -2), (9, i64::MIN)])), "the merged fields");
    Ok(())
}

pub(super) async fn object_preconditions_hold(bench: &Bench) -> Verdict {
    let [x, y] = [1, 2].map(|n| ObjectId::new(bench.shards[1], n));
    bench.ops(vec![add(x, text("old"))]).await?;
    bench.refused(vec![update_if(x, ObjectType(2), None)], ErrorCode::InvalidArgument).await?;
    bench.refused(vec![update_if(x, OTYPE, Some(Seq(2)))], ErrorCode::PreconditionFailed).await?;
    bench.refused(vec![update_if(x, OTYPE, Some(Seq(0)))], ErrorCode::PreconditionFailed).await?;
    bench.refused(vec![delete_if(x, Seq(2))], ErrorCode::PreconditionFailed).await?;
    bench.refused(vec![delete_if(y, Seq(1))], ErrorCode::NotFound).await?;
    // Two updates of one version, in one batch: the first wins.
    let racing = || unit(vec![update_if(x, OTYPE, Some(Seq(1)))]);
    let result = bench.commit(vec![racing(), racing()]).await?;
    done(&result, 0)?;
    ensure_eq!(refusal(&result.units[1])?.code, ErrorCode::PreconditionFailed, "the second update");
    bench.ops(vec![delete_if(x, Seq(2))]).await?;
    ensure_eq!(bench.object(x).await?, None, "the deleted object");
    Ok(())
}

pub(super) async fn the_object_limit_holds_after_a_merge(bench: &Bench) -> Verdict {
    let x = ObjectId::new(bench.shards[2], 1);
    let blob = |field: u16, bytes: usize| {
        Fields::from_iter([(FieldId(field), Value::Blob(Bytes::from(vec![0xa5; bytes])))]).encode()
    };
    // Key and length take a few bytes: find the largest that fits.
    let envelope = blob(1, MAX_OBJECT_BYTES).len() - MAX_OBJECT_BYTES;
    let full = blob(1, MAX_OBJECT_BYTES - envelope);
    ensure_eq!(full.len(), MAX_OBJECT_BYTES, "the test's own largest object");
    let over = blob(1, MAX_OBJECT_BYTES - envelope + 1);
    bench.refused(vec![add(x, over)], ErrorCode::InvalidArgument).await?;
    bench.ops(vec![add(x, full.clone())]).await?;
    // Each part is within the limit, the merged object is not.
    bench.refused(vec![update(x, blob(2, 1))], ErrorCode::InvalidArgument).await?;
    ensure_eq!(bench.object(x).await?.map(|row| row.fields), Some(full), "the object at its limit");
    // The type's own limit, too.
    let y = ObjectId::new(bench.shards[2], 2);
    let (first, second) = (blob(1, 20), blob(2, 20));
    let merge = |max_bytes| StoreOp::ObjectUpdate {
        id: y,
        otype: OTYPE,
        set: second.clone(),
        clear: vec![],
        max_bytes,
        expected: None,
    };
    let both = first.len() + second.len();
    bench.ops(vec![add(y, first)]).await?;
    bench.refused(vec![merge(both - 1)], ErrorCode::InvalidArgument).await?;
    bench.ops(vec![merge(both)]).await?;
    Ok(())
}

fn ids(done: &UnitDone) -> Vec<ObjectId> {
    done.outcomes.iter().filter_map(|outcome| outcome.id).collect()
}

pub(super) async fn h6_allocated_ids_never_repeat(bench: &Bench) -> Verdict {
    let shard = bench.shards[3];
    let mut given = BTreeSet::new();
    for round in 0..8 {
        let store = if round % 2 == 0 { &bench.one } else { &bench.other };
        let done = done_alone(store, unit_on(shard, vec![allocate(), allocate()])).await?;
        for id in ids(&done) {
            ensure!(id.shard() == shard && !id.is_named(), "allocated {id}, which does not look so");
            ensure!(given.insert(id), "id {id} was given out twice");
            // A deleted object's id is used up, too.
            done_alone(store, unit(vec![delete(id)])).await?;
        }
    }
    // Ids of the application's choice, just ahead of the allocator and far ahead, in the same batch and before it;
    // one is chosen by a unit that is refused.
    let far = ObjectId::new(shard, 1 << 40);
    for round in 0..2 {
        let Some(last) = given.last().map(|id| id.local()) else { return Err("nothing allocated".into()) };
        let near = [2, 4].map(|ahead| ObjectId::new(shard, last + ahead));
        let chose = |id| add(id, text("chosen"));
        let allocating = || unit_on(shard, vec![allocate(), allocate(), allocate()]);
        let refused = unit_on(shard, vec![chose(near[1]), allocate(), chose(near[0])]);
        let mut units = vec![allocating(), unit(vec![chose(near[0])]), refused, allocating()];
        if round == 0 {
            units.push(unit(vec![chose(far)]));
        }
        let result = bench.commit(units).await?;
        done(&result, 1)?;
        refusal(&result.units[2])?;
        for id in [ids(&done(&result, 0)?), ids(&done(&result, 3)?)].concat() {
            ensure!(id != near[0] && id != far, "allocated the chosen id {id}");
            ensure!(given.insert(id), "id {id} was given out twice");
        }
    }
    // One chosen id far ahead must not use up the shard.
    let (first, most) = (given.first().copied(), given.last().copied());
    ensure!(most < Some(far), "ids from {first:?} jump to {most:?}");
    Ok(())
}

pub(super) async fn object_data_comes_back_byte_for_byte(bench: &Bench) -> Verdict {
    let values = [
        EncodedFields::new(),
        text(""),
        text("nul \0, quote ' \" \\ %, four bytes \u{1F600}"),
        Fields::from_iter([
            (FieldId(1), Value::Blob(Bytes::from((0..=255).collect::<Vec<u8>>()))),
            (FieldId(2), Value::Float(f64::NEG_INFINITY)),
            (FieldId(3), Value::Bool(false)),
            (FieldId(u16::MAX), Value::Int(i64::MIN)),
        ])
        .encode(),
        // No fields message at all: the store keeps bytes as they are.
        EncodedFields(Bytes::from_static(&[0xff, 0x00, 0xfe, b'\'', b'\\', 0x1a, 0x0a])),
        text(&"large ".repeat(20_000)),
    ];
    for (at, fields) in values.into_iter().enumerate() {
        // The first and the last id of a shard are among them.
        let locals = [0, u64::MAX, 1 << 47, (1 << 47) - 1, 5, 6];
        let x = ObjectId::new(bench.shards[at % 4], locals[at]);
        let op = StoreOp::ObjectAdd { id: Some(x), otype: ObjectType(32_767), fields: fields.clone() };
        bench.ops(vec![op]).await?;
        let row = bench.object(x).await?;
        let stored = row.map(|row| (row.otype, row.fields.0));
        ensure_eq!(stored, Some((ObjectType(32_767), fields.0)), "value {at} of object {x}");
    }
    Ok(())
}
