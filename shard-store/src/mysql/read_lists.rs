//! Lists with edges: short ones whole, many in a statement; parts of long ones each with its own.
//!
//! Sorting and limits are what a list costs a server: beside a header they make a temporary table (300 us of MariaDB's
//! processor, however short the list). So whole lists are read as they lie in the primary key and sorted here, and only a list
//! with more edges than are wanted is read by time.

use futures_util::stream::{self, StreamExt};
use mysql_async::{Params, Row as SqlRow, Value};
use tao_schema::edges::PackedEdgesBuilder;
use tao_schema::ids::{ListKey, ObjectId, Position, ShardId, Time};
use tao_schema::rows::{ListRow, ShardState};

use super::Inner;
use super::columns::{Columns, Unexpected};
use super::error::Failure;
use super::read::{Found, HasShard, Indexed, by_key, count_row, position};
use super::statements::{LIST, LIST_WHOLE, LISTS_WHOLE};
use crate::store::{Row, Snapshot};

/// Lists of one statement, and edges of a list that is read whole: together they bound a statement's answer.
const LISTS_PER_STATEMENT: usize = 64;
const LONGEST_WHOLE: u32 = 1_024;

/// The newest edges of a list.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) key: ListKey,
    pub(super) edges: u32,
}

/// Part of a list.
#[derive(Clone, Copy)]
pub(super) struct Slice {
    pub(super) key: ListKey,
    pub(super) high: Time,
    pub(super) low: Time,
    pub(super) pos: u32,
    pub(super) limit: u32,
}

impl HasShard for Head {
    fn shard(&self) -> ShardId {
        self.key.id1.shard()
    }
}

impl Head {
    /// With more edges than this the list is not read whole.
    fn most(self) -> u32 {
        self.edges.min(LONGEST_WHOLE)
    }

    fn slice(self) -> Slice {
        Slice { key: self.key, high: Time(u32::MAX), low: Time(0), pos: 0, limit: self.edges }
    }
}

/// Heads and parts of lists; those without a shard row are missing.
pub(super) async fn read_lists(
    inner: &Inner,
    heads: &[Indexed<Head>],
    mut slices: Vec<Indexed<Slice>>,
) -> Result<Found, Failure> {
    let mut found = Vec::with_capacity(heads.len() + slices.len());
    for chunk in heads.chunks(LISTS_PER_STATEMENT) {
        let parts = |head: Head| vec![head.key.id1.0, u64::from(head.key.atype.0), u64::from(head.most())];
        let (sql, params) = by_key([&LIST_WHOLE, &LISTS_WHOLE], chunk, parts);
        let rows = inner.readers.query(sql, params).await?;
        let lists = Lists::of(chunk, rows);
        let lists = lists.map_err(|unexpected| Failure::unexpected(&inner.server, sql.name, &unexpected))?;
        for (list, (index, head)) in lists.0.into_iter().zip(chunk) {
            match list {
                Some(list) if list.header.count > u64::from(head.most()) => {
                    slices.push((*index, head.slice()));
                }
                Some(list) => found.push((*index, list.snapshot())),
                None => {}
            }
        }
    }
    found.extend(read_slices(inner, &slices).await?);
    Ok(found)
}

/// The lists of one answer, by their place in the question.
struct Lists(Vec<Option<List>>);

/// One list as it comes: header, and edges in any order.
struct List {
    position: Position,
    state: ShardState,
    header: ListRow,
    edges: Vec<(Time, ObjectId, Vec<u8>)>,
}

impl Lists {
    /// Each row has its list's header, and an edge if there is one.
    fn of(asked: &[Indexed<Head>], rows: Vec<SqlRow>) -> Result<Self, Unexpected> {
        let mut lists: Vec<Option<List>> = asked.iter().map(|_| None).collect();
        for row in rows {
            let mut columns = Columns::from(row);
            let n = columns.u32()? as usize;
            let (Some(list), Some((_, head))) = (lists.get_mut(n), asked.get(n)) else {
                return Err(Unexpected("a row that was not asked for"));
            };
            let list = match list {
                Some(list) => {
                    columns.skip(5)?;
                    list
                }
                None => {
                    let (position, state) = position(&mut columns, head.shard())?;
                    let header = count_row(&mut columns)?;
                    list.insert(List { position, state, header, edges: Vec::new() })
                }
            };
            if let Some(id2) = columns.optional_u64()? {
                list.edges.push((columns.time()?, ObjectId(id2), columns.bytes()?));
            }
        }
        Ok(Self(lists))
    }
}

impl List {
    fn snapshot(self) -> Snapshot {
        let Self { position, state, header: mut list, mut edges } = self;
        edges.sort_unstable_by_key(|(time, id2, _)| std::cmp::Reverse((*time, *id2)));
        let mut packed = PackedEdgesBuilder::with_capacity(edges.len());
        for (time, id2, data) in &edges {
            packed.push(*id2, *time, data);
        }
        list.edges = packed.finish();
        Snapshot { position, state, row: Row::List(list) }
    }
}

/// One statement for each, on as many connections as there are.
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
    read_slice_rows(rows, shard)
        .map_err(|unexpected| Failure::unexpected(&inner.server, LIST.name, &unexpected))
}

fn read_slice_rows(rows: Vec<SqlRow>, shard: ShardId) -> Result<Option<Snapshot>, Unexpected> {
    let mut found = None;
    let mut edges = Vec::with_capacity(rows.len());
    for row in rows {
        let mut columns = Columns::from(row);
        if columns.u64()? == 0 {
            let seq = columns.seq()?;
            let position = Position { shard, epoch: columns.epoch()?, seq };
            found = Some((position, columns.state()?, count_row(&mut columns)?));
        } else {
            let (id2, time) = (columns.object_id()?, columns.time()?);
            columns.skip(3)?;
            edges.push((time, id2, columns.bytes()?));
        }
    }
    // A UNION promises no order.
    Ok(found.map(|(position, state, header)| List { position, state, header, edges }.snapshot()))
}
