//! [`ShardMover`] on MariaDB and MySQL.
//!
//! | file | is |
//! |---|---|
//! | `book` | moves of the cluster, beside the topology |
//! | `facts` | what else a mover asks of a server |
//! | `page` | pages of the tables, counts |
//! | `privileges` | what the account may do |
//! | `records` | the shard row and `shard_move`, read and written under the row's lock |
//! | `rows` | rows and deletions of an import; deletions of a range |

mod book;
mod facts;
mod page;
mod privileges;
mod records;
mod rows;

use async_trait::async_trait;
use tao_schema::ids::{Position, ShardId};

pub use self::book::MoveBook;
pub use self::facts::ServerFacts;

use self::records::{Work, ruled};
use super::{MySqlStore, log, migrate, spawned};
use crate::log::{LogPosition, ServerLog, TailError};
use crate::moves::{
    AbortImport, Aborted, Answer, BeginImport, BeginReverse, CommitImport, Committed, Copied, Fence,
    FenceShard, Import, MovePreflight, PageLimit, RawPage, RawTail, RowCounts, ShardMover, ShardMoves, rules,
};
use crate::store::StoreError;

/// Most rows that one transaction deletes.
const MAX_DELETES: usize = 10_000;

#[async_trait]
impl ShardMover for MySqlStore {
    async fn move_preflight(&self) -> Result<MovePreflight, StoreError> {
        let mut findings = ServerLog::preflight(self).await?;
        findings.extend(privileges::may_write(&self.inner).await?);
        Ok(MovePreflight { schema: migrate::schema(), findings })
    }

    async fn raw_page(
        &self,
        shard: ShardId,
        copied: Copied,
        limit: PageLimit,
    ) -> Result<RawPage, StoreError> {
        page::page(&self.inner, shard, copied, limit).await
    }

    async fn raw_tail(&self, shard: ShardId, after: LogPosition) -> Result<Box<dyn RawTail>, TailError> {
        Ok(Box::new(log::connect::open_raw(&self.inner, shard, after).await?))
    }

    async fn shard_moves(&self, shard: ShardId) -> Result<ShardMoves, StoreError> {
        records::shard_moves(&self.inner, shard).await
    }

    async fn rows_of_range(&self, shard: ShardId) -> Result<RowCounts, StoreError> {
        page::count(&self.inner, shard).await
    }

    async fn begin_import(&self, begin: BeginImport) -> Result<Answer, StoreError> {
        let inner = self.inner.clone();
        spawned(async move {
            let decide = |found: &ShardMoves, any_rows: bool| rules::begin(found, any_rows, &begin);
            ruled(&inner, begin.shard, Work::Emptiness, decide).await
        })
        .await
    }

    async fn import(&self, import: Import) -> Result<Answer, StoreError> {
        let inner = self.inner.clone();
        spawned(async move {
            let decide = |found: &ShardMoves, _: bool| rules::import(found, &import);
            ruled(&inner, import.shard, Work::Rows(&import), decide).await
        })
        .await
    }

    async fn fence(&self, fence: FenceShard) -> Result<Answer<Fence>, StoreError> {
        let inner = self.inner.clone();
        spawned(async move {
            let decide = |found: &ShardMoves, _: bool| rules::fence(found, &fence);
            ruled(&inner, fence.shard, Work::Nothing, decide).await
        })
        .await
    }

    async fn commit_import(&self, commit: CommitImport) -> Result<Answer<Committed>, StoreError> {
        let inner = self.inner.clone();
        spawned(async move {
            let decide = |found: &ShardMoves, _: bool| rules::commit(found, &commit);
            ruled(&inner, commit.shard, Work::Nothing, decide).await
        })
        .await
    }

    async fn abort_import(&self, abort: AbortImport) -> Result<Answer<Aborted>, StoreError> {
        let inner = self.inner.clone();
        spawned(async move {
            let decide = |found: &ShardMoves, _: bool| rules::abort(found, &abort);
            ruled(&inner, abort.shard, Work::Nothing, decide).await
        })
        .await
    }

    async fn unfence(&self, proof: &Aborted) -> Result<Answer<Position>, StoreError> {
        let (inner, proof) = (self.inner.clone(), proof.clone());
        spawned(async move {
            let decide = |found: &ShardMoves, _: bool| rules::unfence(found, &proof);
            ruled(&inner, proof.of().0, Work::Nothing, decide).await
        })
        .await
    }

    async fn begin_reverse(&self, reverse: BeginReverse) -> Result<Answer, StoreError> {
        let inner = self.inner.clone();
        spawned(async move {
            let decide = |found: &ShardMoves, _: bool| rules::reverse(found, &reverse);
            ruled(&inner, reverse.committed.at().shard, Work::Nothing, decide).await
        })
        .await
    }

    async fn retire(&self, proof: &Committed, rows: usize) -> Result<Answer<u64>, StoreError> {
        let (inner, proof) = (self.inner.clone(), proof.clone());
        let rows = rows.clamp(1, MAX_DELETES);
        spawned(async move { rows::retire(&inner, &proof, rows).await }).await
    }

    async fn delete_range(&self, shard: ShardId, rows: usize) -> Result<Answer<u64>, StoreError> {
        let inner = self.inner.clone();
        let rows = rows.clamp(1, MAX_DELETES);
        spawned(async move { rows::delete_range(&inner, shard, rows).await }).await
    }
}
