//! The MySQL engine: [`ShardStore`] on MariaDB 10.11+ and MySQL 8.4+.
//!
//! | file | is |
//! |---|---|
//! | `connection` | bounded, timed connections; a doubtful one is closed |
//! | `statements`, `templates` | the `.sql` files; texts of fixed sizes |
//! | `trip` | several statements in one round trip |
//! | `dialect`, `error` | where the servers differ; what their error codes mean |
//! | `migrate` | tables and their versions |
//! | `commit`, `batch_read`, `batch_write`, `resolve` | the transaction (R1-R4): lock, read, plan, write, commit; and when COMMIT gets no answer |
//! | `believed` | the same in one round trip, for a lone write that finds what is believed to be there |
//! | `presumed` | the edges of a large batch are not read, but presumed absent |
//! | `trust` | whether what is believed or presumed came true lately |
//! | `recent` | what is remembered of each shard's requests (R3) |
//! | `read`, `scan` | snapshots with their positions (R12) |
//! | `admin` | shard rows, states, purge |
//! | `log` | the binlog: heartbeats, and the tail (R8, R9) |
//! | `moves` | this server's part in moves of shards (R25) |

mod admin;
mod batch_read;
mod batch_write;
mod believed;
mod columns;
mod commit;
mod connection;
mod dialect;
mod error;
mod log;
mod migrate;
mod moves;
mod options;
mod presumed;
mod read;
mod read_lists;
mod recent;
mod resolve;
mod scan;
mod statements;
mod templates;
#[cfg(test)]
mod tests;
mod timings;
mod trip;
mod trust;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mysql_async::Opts;
use tao_schema::error::Error;
use tao_schema::ids::{EdgeKey, Epoch, Seq, ShardId};
use tao_schema::rows::ShardState;

#[doc(hidden)]
pub use self::log::fuzzing;
pub use self::moves::{MoveBook, ServerFacts};
pub use self::options::{OneTrip, Options};
pub use self::timings::PhaseTimes;

use self::believed::Beliefs;
use self::connection::{Connections, Lease, Role, parse_dsn};
use self::dialect::Dialect;
use self::recent::Memory;
use self::statements::VERSION;
use self::templates::Templates;
use self::timings::Timings;
use self::trust::Trust;
use crate::store::{
    PendingInverse, ReadKey, ScanPage, ShardRow, ShardStore, Snapshot, StoreError, StoreErrorKind, Table,
};
use crate::write::{Batch, BatchResult};

/// Packets smaller than this could not carry an object at its limit with room to spare.
const MIN_PACKET: u64 = 4 << 20;
/// The largest packet of the protocol.
const MAX_EVENT: usize = 1 << 30;
/// Most bytes of values in one statement.
const MAX_STATEMENT_BYTES: u64 = 8 << 20;

/// One database server. Cheap to clone; all clones share connections and memory.
#[derive(Clone)]
pub struct MySqlStore {
    inner: Arc<Inner>,
}

struct Inner {
    server: Arc<str>,
    dialect: Dialect,
    options: Options,
    writers: Arc<Connections>,
    readers: Arc<Connections>,
    templates: Templates,
    memory: Memory,
    beliefs: Beliefs,
    /// Whether edges that are put are absent, mostly.
    absence: Trust,
    timings: Timings,
    log: Arc<log::State>,
    /// How a tail connects.
    tail_opts: Opts,
    /// Most bytes of values in one statement.
    statement_bytes: usize,
}

/// The settings of a server that matter here.
struct Preflight {
    read_only: bool,
    flush_log: u64,
    sync_binlog: u64,
    max_packet: u64,
}

impl MySqlStore {
    /// Connects to `mysql://user:password@host:port`, checks the server, and makes or migrates the tables. A read-only
    /// server (a replica) is only checked, and serves reads.
    ///
    /// # Errors
    /// `Rejected`: address or options. `Unavailable`: not reachable now. `Incompatible`: version, settings (R1) or
    /// tables are not what this program needs; the message says what to do. No message holds the password.
    pub async fn open(dsn: &str, options: Options) -> Result<Self, StoreError> {
        options.validate()?;
        let (builder, server) = parse_dsn(dsn, &options.database)?;
        let bare = Connections::new(&builder, server.clone(), Role::Reader, &options, None);
        let mut lease = bare.get().await?;
        let dialect = dialect_of(&mut lease).await?;
        let preflight = preflight(&mut lease, &dialect).await?;
        check(&preflight, &server, &options)?;
        let lock_seconds = options.statement_timeout.as_secs().saturating_sub(1).max(1);
        migrate::bootstrap(&mut lease, &options.database, preflight.read_only, lock_seconds).await?;
        drop(lease);

        let builder = builder
            .db_name(Some(options.database.as_str()))
            // Known from here on: spares each new connection a round trip.
            .max_allowed_packet(usize::try_from(preflight.max_packet).ok())
            .wait_timeout(Some(options.writer_wait_timeout.as_secs() as usize));
        let statement_bytes = (preflight.max_packet / 2).min(MAX_STATEMENT_BYTES) as usize;
        let inner = Arc::new(Inner {
            writers: Connections::new(&builder, server.clone(), Role::Writer, &options, Some(&dialect)),
            readers: Connections::new(&builder, server.clone(), Role::Reader, &options, Some(&dialect)),
            templates: Templates::new(),
            memory: Memory::default(),
            beliefs: Beliefs::default(),
            absence: presumed::trust(),
            timings: Timings::default(),
            log: Arc::new(log::State::new(&options.database)),
            // An event may be as large as any packet.
            tail_opts: builder.max_allowed_packet(Some(MAX_EVENT)).into(),
            server,
            dialect,
            options,
            statement_bytes,
        });
        // Also tells the memory how many shards share it.
        admin::shard_rows(&inner).await?;
        Ok(Self { inner })
    }

    /// Time spent in each phase of the transactions so far.
    pub fn phase_times(&self) -> PhaseTimes {
        self.inner.timings.sum()
    }
}

async fn dialect_of(lease: &mut Lease) -> Result<Dialect, StoreError> {
    let versions = lease.map(&VERSION, (), |row| row.bytes()).await?;
    let text = versions.first().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
    match Dialect::parse(&text) {
        Some(dialect) if dialect.supported() => Ok(dialect),
        _ => {
            let message = format!(
                "{}: server version `{text}` is not supported: use MariaDB 10.11 or MySQL 8.4, or later",
                lease.server()
            );
            Err(StoreError::new(StoreErrorKind::Incompatible, message))
        }
    }
}

async fn preflight(lease: &mut Lease, dialect: &Dialect) -> Result<Preflight, StoreError> {
    let sql = dialect.preflight();
    let rows = lease
        .map(sql, (), |row| {
            Ok(Preflight {
                read_only: row.u64()? != 0,
                flush_log: row.u64()?,
                sync_binlog: row.u64()?,
                max_packet: row.u64()?,
            })
        })
        .await?;
    let missing = || {
        let message = format!("{}: {} answered nothing", lease.server(), sql.name);
        StoreError::new(StoreErrorKind::Incompatible, message)
    };
    rows.into_iter().next().ok_or_else(missing)
}

fn check(preflight: &Preflight, server: &str, options: &Options) -> Result<(), StoreError> {
    let incompatible = |message: String| Err(StoreError::new(StoreErrorKind::Incompatible, message));
    let durable = preflight.flush_log == 1 && preflight.sync_binlog == 1;
    if !durable && !options.allow_unsafe_durability {
        return incompatible(format!(
            "{server}: innodb_flush_log_at_trx_commit = {} and sync_binlog = {}: both must be 1, or a crash of the \
             server loses acknowledged writes; set them globally and in its configuration",
            preflight.flush_log, preflight.sync_binlog
        ));
    }
    if preflight.max_packet < MIN_PACKET {
        return incompatible(format!(
            "{server}: max_allowed_packet = {}: at least {MIN_PACKET} is needed",
            preflight.max_packet
        ));
    }
    Ok(())
}

impl fmt::Debug for MySqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MySqlStore")
            .field("server", &self.inner.server)
            .field("database", &self.inner.options.database)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl ShardStore for MySqlStore {
    fn describe(&self) -> String {
        self.inner.dialect.describe()
    }

    async fn commit(&self, batch: Batch) -> Result<BatchResult, StoreError> {
        let inner = self.inner.clone();
        spawned(async move { commit::commit(&inner, &batch).await }).await
    }

    async fn read(&self, keys: &[ReadKey]) -> Result<Vec<Result<Snapshot, Error>>, StoreError> {
        read::read(&self.inner, keys).await
    }

    async fn shard_rows(&self) -> Result<Vec<ShardRow>, StoreError> {
        admin::shard_rows(&self.inner).await
    }

    async fn shard_rows_of(&self, shards: &[ShardId]) -> Result<Vec<ShardRow>, StoreError> {
        admin::shard_rows_of(&self.inner, shards).await
    }

    async fn create_shards(&self, shards: &[ShardId], epoch: Epoch) -> Result<(), StoreError> {
        let (inner, shards) = (self.inner.clone(), shards.to_vec());
        spawned(async move { admin::create_shards(&inner, &shards, epoch).await }).await
    }

    async fn change_state(
        &self,
        shard: ShardId,
        epoch: Epoch,
        from: ShardState,
        to: ShardState,
    ) -> Result<bool, StoreError> {
        let inner = self.inner.clone();
        spawned(async move { admin::change_state(&inner, shard, epoch, from, to).await }).await
    }

    async fn outbox(
        &self,
        shard: ShardId,
        after: Option<EdgeKey>,
        limit: usize,
    ) -> Result<Vec<PendingInverse>, StoreError> {
        Ok(scan::scan(&self.inner, shard, Table::Outbox, after, limit).await?.outbox)
    }

    async fn scan(
        &self,
        shard: ShardId,
        table: Table,
        after: Option<EdgeKey>,
        limit: usize,
    ) -> Result<ScanPage, StoreError> {
        scan::scan(&self.inner, shard, table, after, limit).await
    }

    async fn purge(&self, shard: ShardId, requests: Seq, tombstones: Duration) -> Result<u64, StoreError> {
        admin::purge(&self.inner, shard, requests, tombstones).await
    }
}

/// Runs a transaction in a task of its own: a caller that goes away must not leave it half done, or its outcome
/// unresolved.
async fn spawned<T: Send + 'static>(
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::spawn(work).await {
        Ok(outcome) => outcome,
        Err(error) => {
            let message = format!("a transaction's task did not end: {error}");
            Err(StoreError::new(StoreErrorKind::Uncertain, message))
        }
    }
}
