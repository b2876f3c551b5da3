//! Snapshot reads: every row with the shard row of the same statement (R12).

use mysql_async::{Params, Value};
use tao_schema::error::{Error, ErrorCode};
use tao_schema::ids::{EdgeKey, ListKey, ObjectId, ObjectType, Position, Seq, ShardId, Time};
use tao_schema::rows::{EdgeValue, ListRow, ObjectRow, ShardState};

use super::Inner;
use super::columns::{Columns, JsonKeys, Unexpected};
use super::error::Failure;
use super::read_lists::{Head, Slice, read_lists};
use super::statements::{COUNT, COUNTS, EDGE, EDGES, OBJECT, OBJECTS, Sql};
use crate::store::{ReadKey, Row, Snapshot, StoreError};

/// Keys of one statement: bounds a statement's time and its answer.
const KEYS_PER_STATEMENT: usize = 512;

/// A key with its place in the answer.
pub(super) type Indexed<K> = (usize, K);
/// What a statement found: keys without a shard row are missing.
pub(super) type Found = Vec<Indexed<Snapshot>>;

/// The keys of a call, by kind of statement.
#[derive(Default)]
struct Keys {
    objects: Vec<Indexed<ObjectId>>,
    edges: Vec<Indexed<EdgeKey>>,
    counts: Vec<Indexed<ListKey>>,
    heads: Vec<Indexed<Head>>,
    slices: Vec<Indexed<Slice>>,
}

/// See [`crate::ShardStore::read`].
pub(super) async fn read(
    inner: &Inner,
    keys: &[ReadKey],
) -> Result<Vec<Result<Snapshot, Error>>, StoreError> {
    let plan = Keys::of(keys);
    let rows = read_batches(inner, &plan);
    let lists = read_lists(inner, &plan.heads, plan.slices.clone());
    let (mut found, lists) = futures_util::try_join!(rows, lists)?;
    found.extend(lists);

    let mut answers: Vec<_> = keys.iter().map(|key| Err(no_such_shard(&inner.server, key.shard()))).collect();
    for (index, snapshot) in found {
        answers[index] = Ok(snapshot);
    }
    Ok(answers)
}

fn no_such_shard(server: &str, shard: ShardId) -> Error {
    Error::new(ErrorCode::NoSuchShard, format!("shard {shard} has no row on {server}"))
}

impl Keys {
    fn of(keys: &[ReadKey]) -> Self {
        let mut plan = Self::default();
        for (index, key) in keys.iter().enumerate() {
            match *key {
                ReadKey::Object(id) => plan.objects.push((index, id)),
                ReadKey::Edge(edge) => plan.edges.push((index, edge)),
                ReadKey::List { key, edges: 0 } => plan.counts.push((index, key)),
                ReadKey::List { key, edges } => plan.heads.push((index, Head { key, edges })),
                ReadKey::Slice { key, high, low, pos, limit } => {
                    plan.slices.push((index, Slice { key, high, low, pos, limit }));
                }
            }
        }
        plan
    }
}

async fn read_batches(inner: &Inner, plan: &Keys) -> Result<Found, Failure> {
    let objects = read_chunks(inner, [&OBJECT, &OBJECTS], &plan.objects, |id| vec![id.0], object_row);
    let edges = read_chunks(
        inner,
        [&EDGE, &EDGES],
        &plan.edges,
        |edge| vec![edge.id1.0, u64::from(edge.atype.0), edge.id2.0],
        edge_row,
    );
    let counts = read_chunks(
        inner,
        [&COUNT, &COUNTS],
        &plan.counts,
        |list| vec![list.id1.0, u64::from(list.atype.0)],
        |row| count_row(row).map(Row::List),
    );
    let (mut objects, edges, counts) = futures_util::try_join!(objects, edges, counts)?;
    objects.extend(edges);
    objects.extend(counts);
    Ok(objects)
}

/// One statement for each [`KEYS_PER_STATEMENT`] keys of a kind: `one` of a single key, whose parts are then its parameters.
async fn read_chunks<K: Copy + HasShard>(
    inner: &Inner,
    [one, many]: [&'static Sql; 2],
    keys: &[Indexed<K>],
    parts: impl Fn(K) -> Vec<u64>,
    row: impl Fn(&mut Columns) -> Result<Row, Unexpected>,
) -> Result<Found, Failure> {
    let mut found = Vec::with_capacity(keys.len());
    for chunk in keys.chunks(KEYS_PER_STATEMENT) {
        let (sql, params) = by_key([one, many], chunk, &parts);
        let snapshot = |columns: &mut Columns| {
            let n = columns.u32()? as usize;
            let (index, key) = *chunk.get(n).ok_or(Unexpected("a row that was not asked for"))?;
            let (position, state) = position(columns, key.shard())?;
            Ok((index, Snapshot { position, state, row: row(columns)? }))
        };
        let rows = inner.readers.query(sql, params).await?;
        found.extend(inner.readers.read(sql, rows, snapshot)?);
    }
    Ok(found)
}

/// The statement that reads the keys: `one` for a single key, whose parts and shard are its parameters.
pub(super) fn by_key<K: Copy + HasShard>(
    [one, many]: [&'static Sql; 2],
    keys: &[Indexed<K>],
    parts: impl Fn(K) -> Vec<u64>,
) -> (&'static Sql, Params) {
    let (sql, params): (_, Vec<Value>) = match keys {
        [(_, key)] => {
            let shard = u64::from(key.shard().0);
            (one, parts(*key).into_iter().chain([shard]).map(Value::from).collect())
        }
        _ => (many, vec![json(keys, &parts)]),
    };
    (sql, Params::Positional(params))
}

/// The keys as one parameter: place, shard, parts.
fn json<K: Copy + HasShard>(keys: &[Indexed<K>], parts: impl Fn(K) -> Vec<u64>) -> Value {
    let mut json = JsonKeys::new();
    for (n, (_, key)) in keys.iter().enumerate() {
        let mut key_parts = vec![n as u64, u64::from(key.shard().0)];
        key_parts.extend(parts(*key));
        json.push(&key_parts);
    }
    json.finish()
}

pub(super) trait HasShard {
    fn shard(&self) -> ShardId;
}

impl HasShard for ObjectId {
    fn shard(&self) -> ShardId {
        ObjectId::shard(*self)
    }
}

impl HasShard for ListKey {
    fn shard(&self) -> ShardId {
        self.id1.shard()
    }
}

impl HasShard for EdgeKey {
    fn shard(&self) -> ShardId {
        self.id1.shard()
    }
}

/// `epoch, seq, state`.
pub(super) fn position(columns: &mut Columns, shard: ShardId) -> Result<(Position, ShardState), Unexpected> {
    Ok((Position { shard, epoch: columns.epoch()?, seq: columns.seq()? }, columns.state()?))
}

/// `otype, version, data`, all NULL if there is no object.
fn object_row(columns: &mut Columns) -> Result<Row, Unexpected> {
    let Some(otype) = columns.optional()?.map(ObjectType) else { return Ok(Row::Object(None)) };
    Ok(Row::Object(Some(ObjectRow { otype, version: columns.seq()?, fields: columns.fields()? })))
}

/// `time, epoch, seq, data`, all NULL if there is no edge.
fn edge_row(columns: &mut Columns) -> Result<Row, Unexpected> {
    let Some(time) = columns.optional()?.map(Time) else { return Ok(Row::Edge(None)) };
    let (epoch, seq) = (columns.epoch()?, columns.seq()?);
    Ok(Row::Edge(Some((EdgeValue { time, fields: columns.fields()? }, epoch, seq))))
}

/// `count, version`, both NULL if the list was never written.
pub(super) fn count_row(columns: &mut Columns) -> Result<ListRow, Unexpected> {
    let count = columns.optional_u64()?.unwrap_or(0);
    let version = Seq(columns.optional_u64()?.unwrap_or(0));
    Ok(ListRow { count, version, ..ListRow::default() })
}
