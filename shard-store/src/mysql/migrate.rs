//! Brings a server's tables to the version that this program knows.

use tao_schema::error::{Error, ErrorCode};
use xxhash_rust::xxh3::xxh3_64;

use super::connection::Lease;
use super::error::Failure;
use super::statements::{
    CREATE_DATABASE, CREATE_MIGRATION_TABLE, HAS_MIGRATION_TABLE, MIGRATIONS, NAMED_LOCK, NAMED_UNLOCK,
    RECORD_MIGRATION, Sql, USE_DATABASE,
};
use crate::store::{StoreError, StoreErrorKind};

/// A step from one schema version to the next. Statements end with `;` at the end of a line, and can be repeated:
/// DDL commits by itself, so a crash may leave a step half done and not recorded.
#[derive(Debug)]
pub(super) struct Migration {
    pub(super) version: u32,
    pub(super) name: &'static str,
    pub(super) text: &'static str,
}

/// All steps, oldest first. A published step is never edited: add another.
pub(super) const KNOWN: &[Migration] = &[
    Migration { version: 1, name: "0001_tables", text: include_str!("../../sql/migrations/0001_tables.sql") },
    Migration { version: 2, name: "0002_log", text: include_str!("../../sql/migrations/0002_log.sql") },
    Migration { version: 3, name: "0003_moves", text: include_str!("../../sql/migrations/0003_moves.sql") },
    Migration {
        version: 4,
        name: "0004_move_book",
        text: include_str!("../../sql/migrations/0004_move_book.sql"),
    },
];

/// Names the form of the tables that this program makes, and that every open database has.
pub(super) fn schema() -> String {
    let all: String = KNOWN.iter().map(Migration::checksum).collect();
    format!("{} {:016x}", KNOWN.len(), xxh3_64(all.as_bytes()))
}

impl Migration {
    fn checksum(&self) -> String {
        format!("{:016x}", xxh3_64(self.text.as_bytes()))
    }

    fn statements(&self) -> impl Iterator<Item = &'static str> {
        self.text.split(";\n").map(str::trim).filter(|statement| !statement.is_empty())
    }
}

/// A step as the database remembers it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Applied {
    version: u32,
    name: String,
    checksum: String,
}

/// Makes database and tables, or brings them up to date, under a lock that other leaders respect; on a read-only
/// server only checks. `lease` has no database selected, and has afterwards.
pub(super) async fn bootstrap(
    lease: &mut Lease,
    database: &str,
    read_only: bool,
    lock_seconds: u64,
) -> Result<(), StoreError> {
    if read_only {
        return check_only(lease, database).await;
    }
    // The usual case, without a lock and without statements in the log: a cluster's nodes open a primary all at once.
    if check_only(lease, database).await.is_ok() {
        return Ok(());
    }
    // A lock's name holds at most 64 characters, as many as a database's name alone.
    let lock = format!("tao.migrate.{:016x}", xxh3_64(database.as_bytes()));
    let granted = lease.map(&NAMED_LOCK, (lock.as_str(), lock_seconds), |row| row.optional_u64()).await?;
    if granted.first() != Some(&Some(1)) {
        let message = format!("{}: another process is changing the schema of `{database}`", lease.server());
        return Err(StoreError::new(StoreErrorKind::Unavailable, message));
    }
    let done = migrate(lease, database).await;
    lease.rows(&NAMED_UNLOCK, (lock.as_str(),)).await?;
    done
}

async fn migrate(lease: &mut Lease, database: &str) -> Result<(), StoreError> {
    named(lease, &CREATE_DATABASE, database).await?;
    named(lease, &USE_DATABASE, database).await?;
    lease.plain(CREATE_MIGRATION_TABLE.name, CREATE_MIGRATION_TABLE.body()).await?;
    let applied = applied(lease).await?;
    for migration in pending(&applied, KNOWN).map_err(|error| incompatible(lease, database, &error))? {
        for statement in migration.statements() {
            lease.plain(migration.name, &statement.replace("{database}", database)).await?;
        }
        let row = (migration.version, migration.name, migration.checksum());
        lease.run(&RECORD_MIGRATION, row).await?;
        tracing::info!(server = lease.server(), database, migration = migration.name, "schema migrated");
    }
    Ok(())
}

/// A replica gets its tables from its primary.
async fn check_only(lease: &mut Lease, database: &str) -> Result<(), StoreError> {
    let tables = lease.map(&HAS_MIGRATION_TABLE, (database,), |row| row.u64()).await?;
    if tables.first() != Some(&1) {
        let message = format!(
            "{}: read-only, and `{database}` has no tables: let them be made on its primary first",
            lease.server()
        );
        return Err(StoreError::new(StoreErrorKind::Unavailable, message));
    }
    named(lease, &USE_DATABASE, database).await?;
    let applied = applied(lease).await?;
    let pending = pending(&applied, KNOWN).map_err(|error| incompatible(lease, database, &error))?;
    match pending.first() {
        None => Ok(()),
        Some(missing) => {
            let message = format!(
                "{}: read-only, and `{database}` lacks migration {}: let its primary be migrated first",
                lease.server(),
                missing.name
            );
            Err(StoreError::new(StoreErrorKind::Unavailable, message))
        }
    }
}

/// A statement that names the database: an identifier can't be a parameter. [`super::Options::validate`] has seen to
/// it that the name needs no quoting.
async fn named(lease: &mut Lease, sql: &Sql, database: &str) -> Result<(), Failure> {
    lease.plain(sql.name, &sql.body().replace("{database}", database)).await
}

async fn applied(lease: &mut Lease) -> Result<Vec<Applied>, Failure> {
    let rows = lease
        .map(&MIGRATIONS, (), |row| {
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            Ok(Applied { version: row.u32()?, name: text(row.bytes()?), checksum: text(row.bytes()?) })
        })
        .await?;
    Ok(rows)
}

fn incompatible(lease: &Lease, database: &str, error: &Error) -> StoreError {
    let message = format!("{}: database `{database}` {}", lease.server(), error.message);
    StoreError::new(StoreErrorKind::Incompatible, message)
}

/// The steps still to take.
///
/// # Errors
/// If the database has seen steps that this program does not know, or other ones under the same number.
fn pending<'a>(applied: &[Applied], known: &'a [Migration]) -> Result<&'a [Migration], Error> {
    let refuse = |message: String| Error::new(ErrorCode::Corrupt, message);
    for (index, row) in applied.iter().enumerate() {
        let Some(step) = known.get(index) else {
            let newest = known.last().map_or(0, |step| step.version);
            return Err(refuse(format!(
                "has schema version {} ({}), this program knows versions up to {newest}: upgrade this program",
                row.version, row.name
            )));
        };
        if (row.version, row.name.as_str(), &row.checksum) != (step.version, step.name, &step.checksum()) {
            return Err(refuse(format!(
                "was made by migration {} {} with checksum {}, this program has {} {} with {}: run the program \
                 that made it, or load the data into a new database",
                row.version,
                row.name,
                row.checksum,
                step.version,
                step.name,
                step.checksum()
            )));
        }
    }
    Ok(&known[applied.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(known: &[Migration]) -> Vec<Applied> {
        known
            .iter()
            .map(|m| Applied { version: m.version, name: m.name.to_owned(), checksum: m.checksum() })
            .collect()
    }

    #[test]
    fn what_is_missing_is_pending_and_strangers_are_refused() {
        assert_eq!(pending(&[], KNOWN).unwrap().len(), KNOWN.len());
        assert!(pending(&rows(KNOWN), KNOWN).unwrap().is_empty());

        let mut newer = rows(KNOWN);
        let version = KNOWN.len() as u32 + 1;
        newer.push(Applied { version, name: "next".to_owned(), checksum: String::new() });
        let message = pending(&newer, KNOWN).unwrap_err().message;
        assert!(message.contains(&format!("version {version}")) && message.contains("upgrade"), "{message}");

        let mut changed = rows(KNOWN);
        changed[0].checksum = "0".repeat(16);
        assert!(pending(&changed, KNOWN).unwrap_err().message.contains("checksum"));
    }

    #[test]
    fn steps_are_numbered_and_split() {
        for (index, step) in KNOWN.iter().enumerate() {
            assert_eq!(step.version as usize, index + 1);
            assert!(step.statements().all(|statement| {
                statement.contains("TABLE IF NOT EXISTS ") || statement.contains("DATABASE IF NOT EXISTS ")
            }));
        }
        assert_eq!(KNOWN[0].statements().count(), 8);
    }
}
