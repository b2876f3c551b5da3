//! The book of moves, in the database beside the topology.

use std::sync::Arc;
use std::time::Duration;

use mysql_async::{Params, Value};
use tao_schema::ids::{HostGroupId, ShardId};

use super::super::columns::{Columns, Unexpected};
use super::super::connection::Lease;
use super::super::error::{Failure, code};
use super::super::statements::{
    BOOK_BEGIN, BOOK_COUNT, BOOK_COUNTED, BOOK_COUNTER_ROW, BOOK_ENTRIES, BOOK_LEASE, BOOK_LET_GO, BOOK_NOTE,
    BOOK_ORDER, READ_ONLY, Sql,
};
use super::super::{Inner, MySqlStore};
use crate::moves::{MoveEntry, MoveId, MoveLease, MoveProgress, MoveState, NewMove};
use crate::store::{StoreError, StoreErrorKind};

/// Most entries that one call answers.
const MAX_ENTRIES: usize = 10_000;

/// Moves of the cluster's shards, on the primary of its first host group. Cheap to clone.
///
/// A call that gets no answer may be repeated: what it compares tells whether it was done.
#[derive(Clone)]
pub struct MoveBook {
    inner: Arc<Inner>,
}

impl MySqlStore {
    /// The book that this server keeps, if it is the primary of the first host group.
    pub fn move_book(&self) -> MoveBook {
        MoveBook { inner: self.inner.clone() }
    }
}

impl MoveBook {
    /// An id that was never given away, and is above `above`.
    ///
    /// # Errors
    /// `Unavailable`: the server does not answer, or is read-only.
    pub async fn next_id(&self, above: MoveId) -> Result<MoveId, StoreError> {
        let mut lease = self.inner.readers.get().await?;
        self.run(&mut lease, &BOOK_COUNTER_ROW, ()).await?;
        let counted = self.run(&mut lease, &BOOK_COUNT, (above.0,)).await?;
        if counted == 0 {
            return Err(self.refused(lease).await?);
        }
        // Of this very connection: whoever counts at the same time has another.
        let id = lease.map(&BOOK_COUNTED, (), |row| row.u64()).await?;
        lease.release();
        Ok(MoveId(id.first().copied().unwrap_or_default()))
    }

    /// Writes down a move. `false`: the shard has one that is not over.
    ///
    /// # Errors
    /// `Unavailable`: the server does not answer, or is read-only.
    pub async fn begin(&self, new: &NewMove) -> Result<bool, StoreError> {
        let (shard, source, target) = (new.shard.0, new.source.0, new.target.0);
        let values: Vec<Value> = vec![
            new.id.0.into(),
            shard.into(),
            shard.into(),
            source.into(),
            source.into(),
            target.into(),
            new.id.0.into(),
            (MoveState::Planned as u8).into(),
            new.orders.as_str().into(),
            new.notes.as_str().into(),
        ];
        let mut lease = self.inner.readers.get().await?;
        match self.run(&mut lease, &BOOK_BEGIN, Params::Positional(values)).await {
            Ok(0) => Err(self.refused(lease).await?),
            Ok(_) => {
                lease.release();
                Ok(true)
            }
            Err(failure) if failure.code == Some(code::DUPLICATE_KEY) => {
                lease.release();
                // Its own, by an earlier call that got no answer?
                Ok(self.of_shard(new.shard).await?.is_some_and(|entry| entry.id == new.id))
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// The newest move of a shard.
    ///
    /// # Errors
    /// The server does not answer, or holds what can't be read.
    pub async fn of_shard(&self, shard: ShardId) -> Result<Option<MoveEntry>, StoreError> {
        Ok(self.entries((shard, shard), 1).await?.into_iter().next())
    }

    /// The newest moves of all shards, at most `limit` (and 10,000).
    ///
    /// # Errors
    /// As [`MoveBook::of_shard`].
    pub async fn all(&self, limit: usize) -> Result<Vec<MoveEntry>, StoreError> {
        self.entries((ShardId(0), ShardId(u16::MAX)), limit.min(MAX_ENTRIES)).await
    }

    /// Notes how far a move is, for the worker that holds its lease; `open`: whether it is not over. `false`: the lease is
    /// another's, or ran out, or the move is over.
    ///
    /// # Errors
    /// `Unavailable`: the server does not answer, or is read-only.
    pub async fn note(
        &self,
        id: MoveId,
        worker: &str,
        at: &MoveProgress,
        open: bool,
    ) -> Result<bool, StoreError> {
        let values: Vec<Value> = vec![
            u64::from(open).into(),
            at.source.0.into(),
            at.target.0.into(),
            at.attempt.0.into(),
            at.back.map_or(0, |back| back.0).into(),
            (at.state as u8).into(),
            at.notes.as_str().into(),
            id.0.into(),
            worker.into(),
        ];
        self.compare_and_set(&BOOK_NOTE, Params::Positional(values)).await
    }

    /// Changes what operators want, if nobody changed the entry since it was read.
    ///
    /// # Errors
    /// As [`MoveBook::note`].
    pub async fn order(&self, id: MoveId, version: u64, orders: &str) -> Result<bool, StoreError> {
        let values: Vec<Value> = vec![orders.into(), id.0.into(), version.into()];
        self.compare_and_set(&BOOK_ORDER, Params::Positional(values)).await
    }

    /// Takes or renews the lease, for so long. `take_over`: even if another has it. `false`: another has it, or the move is
    /// over.
    ///
    /// # Errors
    /// As [`MoveBook::note`].
    pub async fn lease(
        &self,
        id: MoveId,
        worker: &str,
        time: Duration,
        take_over: bool,
    ) -> Result<bool, StoreError> {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX >> 1);
        let values: Vec<Value> =
            vec![worker.into(), millis.into(), id.0.into(), worker.into(), u64::from(take_over).into()];
        self.compare_and_set(&BOOK_LEASE, Params::Positional(values)).await
    }

    /// Gives the lease back, if it is `worker`'s.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn let_go(&self, id: MoveId, worker: &str) -> Result<(), StoreError> {
        let mut lease = self.inner.readers.get().await?;
        self.run(&mut lease, &BOOK_LET_GO, (id.0, worker)).await?;
        lease.release();
        Ok(())
    }

    async fn compare_and_set(&self, sql: &Sql, params: Params) -> Result<bool, StoreError> {
        let mut lease = self.inner.readers.get().await?;
        if self.run(&mut lease, sql, params).await? > 0 {
            lease.release();
            return Ok(true);
        }
        let found = lease.map(&READ_ONLY, (), |row| row.u64()).await?;
        let open = found.first() == Some(&0);
        let server = lease.server().to_owned();
        lease.release();
        if open { Ok(false) } else { Err(read_only(&server)) }
    }

    async fn entries(
        &self,
        (first, last): (ShardId, ShardId),
        limit: usize,
    ) -> Result<Vec<MoveEntry>, StoreError> {
        let text = self.text(&BOOK_ENTRIES);
        let rows =
            self.inner.readers.query_text(BOOK_ENTRIES.name, &text, (first.0, last.0, limit as u64)).await?;
        Ok(self.inner.readers.read(&BOOK_ENTRIES, rows, entry)?)
    }

    async fn run(&self, lease: &mut Lease, sql: &Sql, params: impl Into<Params>) -> Result<u64, Failure> {
        lease.run_text(sql.name, &self.text(sql), params).await
    }

    fn text(&self, sql: &Sql) -> String {
        sql.body().replace("{database}", &self.inner.options.database)
    }

    /// Nothing was written, and nothing else can be the reason.
    async fn refused(&self, lease: Lease) -> Result<StoreError, StoreError> {
        let server = lease.server().to_owned();
        lease.release();
        Ok(read_only(&server))
    }
}

fn read_only(server: &str) -> StoreError {
    let message = format!("{server}: the server is read-only: it is not the primary that keeps the moves");
    StoreError::new(StoreErrorKind::Unavailable, message)
}

fn entry(row: &mut Columns) -> Result<MoveEntry, Unexpected> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| Unexpected("a text that is none"));
    let group = |row: &mut Columns| {
        u16::try_from(row.u64()?).map(HostGroupId).map_err(|_| Unexpected("a host group beyond all numbers"))
    };
    let (id, version, shard, open) = (MoveId(row.u64()?), row.u64()?, row.shard()?, row.u64()? > 0);
    let (home, source, target) = (group(row)?, group(row)?, group(row)?);
    let (attempt, back) = (MoveId(row.u64()?), row.u64()?);
    let state = usize::try_from(row.u64()?).ok().and_then(|state| MoveState::ALL.get(state).copied());
    let state = state.ok_or(Unexpected("a state of moves that this program does not know"))?;
    let (orders, notes, worker) = (text(row.bytes()?)?, text(row.bytes()?)?, text(row.bytes()?)?);
    let until = row.u64()?;
    let back = (back > 0).then_some(MoveId(back));
    Ok(MoveEntry {
        id,
        version,
        shard,
        open,
        home,
        at: MoveProgress { source, target, attempt, back, state, notes },
        orders,
        lease: (!worker.is_empty()).then_some(MoveLease { worker, until }),
        created_at: row.u64()?,
        changed_at: row.u64()?,
        now: row.u64()?,
    })
}
