//! Snapshot reads: every row with the shard row of the same statement (R12).

use futures_util::stream::{self, StreamExt};
use mysql_async::{Params, Value};
use tao_schema::edges::PackedEdgesBuilder;
use tao_schema::error::{Error, ErrorCode};
use tao_schema::ids::{EdgeKey, ListKey, ObjectId, ObjectType, Position, Seq, ShardId, Time};
use tao_schema::rows::{EdgeValue, ListRow, ObjectRow, ShardState};

use super::Inner;
use super::columns::{Columns, JsonKeys, Unexpected};
use super::error::Failure;
use super::statements::{COUNT, COUNTS, EDGE, EDGES, LIST, OBJECT, OBJECTS, Sql};
use crate::store::{ReadKey, Row, Snapshot, StoreError};

/// Keys of one statement: bounds a statement's time and its answer.
const KEYS_PER_STATEMENT: usize = 512;

/// Part of a list.
#[derive(Clone, Copy)]
struct Slice {
    key: ListKey,
    high: Time,
    low: Time,
    pos: u32,
    limit: u32,
}

/// A key with its place in the answer.
type Indexed<K> = (usize, K);
/// What a statement found: keys without a shard row are missing.
type Found = Vec<Indexed<Snapshot>>;

/// The keys of a call, by kind of statement.
#[derive(Default)]
struct Keys {
    objects: Vec<Indexed<ObjectId>>,
    edges: Vec<Indexed<EdgeKey>>,
    counts: Vec<Indexed<ListKey>>,
    slices: Vec<Indexed<Slice>>,
}

/// See [`crate::ShardStore::read`].
pub(super) async fn read(
    inner: &Inner,
    keys: &[ReadKey],
) -> Result<Vec<Result<Snapshot, Error>>, StoreError> {
    let mut plan = Keys::of(keys);
    let mut found = Vec::with_capacity(keys.len());
    // Most lists are empty, and the count row says so: of several heads, read all count rows in one statement, and
    // go on with those lists only that have edges. A single one is read at once.
    if plan.slices.len() > 1 {
        plan.count_first(keys);
    }
    found.extend(read_batches(inner, &plan).await?);
    if plan.slices.is_empty() {
        plan.slices = heads_with_edges(keys, &found);
    }
    // The lists' own snapshots come later and overwrite those of their counts.
    found.extend(read_slices(inner, &plan.slices).await?);

    let mut answers: Vec<_> = keys.iter().map(|key| Err(no_such_shard(&inner.server, key.shard()))).collect();
    for (index, snapshot) in found {
        answers[index] = Ok(snapshot);
    }
    Ok(answers)
}

fn no_such_shard(server: &str, shard: ShardId) -> Error {
    Error::new(ErrorCode::NoSuchShard, format!("shard {shard} has no row on {server}"))
}

fn slice_of(key: &ReadKey) -> Option<Slice> {
    match *key {
        ReadKey::List { key, edges } if edges > 0 => {
            Some(Slice { key, high: Time(u32::MAX), low: Time(0), pos: 0, limit: edges })
        }
        ReadKey::Slice { key, high, low, pos, limit } => Some(Slice { key, high, low, pos, limit }),
        ReadKey::List { .. } | ReadKey::Object(_) | ReadKey::Edge(_) => None,
    }
}

impl Keys {
    fn of(keys: &[ReadKey]) -> Self {
        let mut plan = Self::default();
        for (index, key) in keys.iter().enumerate() {
            match *key {
                ReadKey::Object(id) => plan.objects.push((index, id)),
                ReadKey::Edge(edge) => plan.edges.push((index, edge)),
                ReadKey::List { key: list, edges: 0 } => plan.counts.push((index, list)),
                ReadKey::List { .. } | ReadKey::Slice { .. } => {
                    plan.slices.extend(slice_of(key).map(|slice| (index, slice)));
                }
            }
        }
        plan
    }

    fn count_first(&mut self, keys: &[ReadKey]) {
        self.counts.clear();
        self.slices.clear();
        for (index, key) in keys.iter().enumerate() {
            if let ReadKey::List { key: list, .. } | ReadKey::Slice { key: list, .. } = key {
                self.counts.push((index, *list));
            }
        }
    }
}

/// Of the lists whose counts were read, those of which edges are asked and that have some.
fn heads_with_edges(keys: &[ReadKey], counted: &[Indexed<Snapshot>]) -> Vec<Indexed<Slice>> {
    let has_edges = |snapshot: &Snapshot| matches!(&snapshot.row, Row::List(list) if list.count > 0);
    counted
        .iter()
        .filter(|(_, snapshot)| has_edges(snapshot))
        .filter_map(|(index, _)| Some((*index, slice_of(&keys[*index])?)))
        .collect()
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
        let (sql, params): (_, Vec<Value>) = match chunk {
            [(_, key)] => {
                let shard = u64::from(key.shard().0);
                (one, parts(*key).into_iter().chain([shard]).map(Value::from).collect())
            }
            _ => (many, vec![json(chunk, &parts)]),
        };
        let snapshot = |columns: &mut Columns| {
            let n = columns.u32()? as usize;
            let (index, key) = *chunk.get(n).ok_or(Unexpected("a row that was not asked for"))?;
            let (position, state) = position(columns, key.shard())?;
            Ok((index, Snapshot { position, state, row: row(columns)? }))
        };
        let rows = inner.readers.query(sql, Params::Positional(params)).await?;
        found.extend(inner.readers.read(sql, rows, snapshot)?);
    }
    Ok(found)
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

trait HasShard {
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
fn position(columns: &mut Columns, shard: ShardId) -> Result<(Position, ShardState), Unexpected> {
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
fn count_row(columns: &mut Columns) -> Result<ListRow, Unexpected> {
    let count = columns.optional_u64()?.unwrap_or(0);
    let version = Seq(columns.optional_u64()?.unwrap_or(0));
    Ok(ListRow { count, version, ..ListRow::default() })
}

/// One statement for each list, on as many connections as there are.
async fn read_slices(inner: &Inner, slices: &[Indexed<Slice>]) -> Result<Found, Failure> {
    let mut reads = stream::iter(slices.to_vec())
        .map(|(index, slice)| async move { Ok((index, read_slice(inner, slice).await?)) })
        .buffer_unordered(inner.options.readers);
    let mut found = Vec::with_capacity(slices.len());
    while let Some(answer) = reads.next().await {
        if let (index, Some(snapshot)) = answer? {
            found.push((index, snapshot));
        }
    }
    Ok(found)
}

/// Header and edges of one statement; `None` if there is no shard row.
async fn read_slice(inner: &Inner, slice: Slice) -> Result<Option<Snapshot>, Failure> {
    let Slice { key, high, low, pos, limit } = slice;
    let (id1, atype, shard) = (key.id1.0, key.atype.0, key.id1.shard());
    let params: Vec<Value> = vec![
        id1.into(),
        atype.into(),
        shard.0.into(),
        id1.into(),
        atype.into(),
        low.0.into(),
        high.0.into(),
        limit.into(),
        pos.into(),
    ];
    let rows = inner.readers.query(&LIST, Params::Positional(params)).await?;
    read_list(rows, shard).map_err(|unexpected| Failure::unexpected(&inner.server, LIST.name, &unexpected))
}

fn read_list(rows: Vec<mysql_async::Row>, shard: ShardId) -> Result<Option<Snapshot>, Unexpected> {
    let mut header = None;
    let mut edges = Vec::with_capacity(rows.len());
    for row in rows {
        let mut columns = Columns::from(row);
        if columns.u64()? == 0 {
            let seq = columns.seq()?;
            let position = Position { shard, epoch: columns.epoch()?, seq };
            header = Some((position, columns.state()?, count_row(&mut columns)?));
        } else {
            let (id2, time) = (columns.object_id()?, columns.time()?);
            columns.skip(3)?;
            edges.push((time, id2, columns.bytes()?));
        }
    }
    let Some((position, state, mut list)) = header else { return Ok(None) };
    // A UNION promises no order; rows come sorted nevertheless, and sorting what is sorted costs one pass.
    edges.sort_by_key(|(time, id2, _)| std::cmp::Reverse((*time, *id2)));
    let mut packed = PackedEdgesBuilder::with_capacity(edges.len());
    for (time, id2, data) in &edges {
        packed.push(*id2, *time, data);
    }
    list.edges = packed.finish();
    Ok(Some(Snapshot { position, state, row: Row::List(list) }))
}
