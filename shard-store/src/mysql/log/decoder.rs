//! From events to news: everything about the log that needs no connection.

use std::collections::HashMap;

use super::Bad;
use super::harvest::Harvest;
use super::query::{Statement, judge};
use super::rows::{NO_TABLE, RowsEvent};
use super::table::{Databases, Kind};
use super::transaction::Transaction;
use super::wire::Wire;
use crate::log::LogPosition;

/// Types of events, as both servers number them.
mod kind {
    pub(super) const QUERY: u8 = 2;
    pub(super) const STOP: u8 = 3;
    pub(super) const ROTATE: u8 = 4;
    pub(super) const INTVAR: u8 = 5;
    pub(super) const RAND: u8 = 13;
    pub(super) const USER_VAR: u8 = 14;
    pub(super) const FORMAT_DESCRIPTION: u8 = 15;
    pub(super) const XID: u8 = 16;
    pub(super) const TABLE_MAP: u8 = 19;
    pub(super) const INCIDENT: u8 = 26;
    pub(super) const HEARTBEAT: u8 = 27;
    pub(super) const IGNORABLE: u8 = 28;
    pub(super) const ROWS_QUERY: u8 = 29;
    pub(super) const GTID: u8 = 33;
    pub(super) const ANONYMOUS_GTID: u8 = 34;
    pub(super) const PREVIOUS_GTIDS: u8 = 35;
    pub(super) const TRANSACTION_CONTEXT: u8 = 36;
    pub(super) const VIEW_CHANGE: u8 = 37;
    pub(super) const XA_PREPARE: u8 = 38;
    pub(super) const PARTIAL_UPDATE_ROWS: u8 = 39;
    pub(super) const TRANSACTION_PAYLOAD: u8 = 40;
    pub(super) const HEARTBEAT_2: u8 = 41;
    pub(super) const GTID_TAGGED: u8 = 42;
    pub(super) const ANNOTATE_ROWS: u8 = 160;
    pub(super) const BINLOG_CHECKPOINT: u8 = 161;
    pub(super) const MARIADB_GTID: u8 = 162;
    pub(super) const MARIADB_GTID_LIST: u8 = 163;
}

/// Table maps that are kept; a log that has more tables sends them again with each statement anyway.
const TABLES: usize = 256;

/// An event without its header and checksum.
pub(super) struct RawEvent<'a> {
    pub(super) event_type: u8,
    /// Who wrote it first.
    pub(super) server_id: u32,
    pub(super) data: &'a [u8],
}

/// The name of the transaction that is being read.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Gtid {
    source: String,
    sequence: u64,
}

struct Open<H> {
    gtid: Gtid,
    /// Whether it goes on until its end is said; else its one statement is its end.
    begun: bool,
    harvest: H,
    /// Size of its events with rows of ours.
    bytes: usize,
}

impl<H> Open<H> {
    fn has_rows(&self) -> bool {
        self.bytes > 0
    }
}

/// What a tail has read; `H` is what it makes of the rows.
pub(super) struct Decoder<H: Harvest = Transaction> {
    databases: Databases,
    /// Bytes of events that a transaction may have.
    limit: usize,
    /// By number: the event that described it, and what it is.
    tables: HashMap<u64, (Vec<u8>, Option<Kind>)>,
    known: H::Known,
    open: Option<Open<H>>,
    position: LogPosition,
    /// Whether a log's format was told: the start is over.
    pub(super) started: bool,
}

impl<H: Harvest> Decoder<H> {
    pub(super) fn new(databases: Databases, limit: usize, position: LogPosition, known: H::Known) -> Self {
        Self { databases, limit, tables: HashMap::new(), known, open: None, position, started: false }
    }

    /// All whole transactions up to here were read.
    pub(super) fn position(&self) -> &LogPosition {
        &self.position
    }

    /// As [`Decoder::position`], and the transaction that is being read.
    pub(super) fn position_behind(&self) -> LogPosition {
        let mut position = self.position.clone();
        if let Some(open) = &self.open {
            position.add(&open.gtid.source, open.gtid.sequence);
        }
        position
    }

    /// Reads one event; appends what a transaction that it ends has to tell.
    pub(super) fn event(&mut self, event: &RawEvent, out: &mut Vec<H::Item>) -> Result<(), Bad> {
        match event.event_type {
            kind::FORMAT_DESCRIPTION => {
                self.started = true;
                self.tables.clear();
                Ok(())
            }
            // The name and position of a ROTATE are not used, true or false: GTIDs tell where we are.
            kind::ROTATE
            | kind::STOP
            | kind::HEARTBEAT
            | kind::HEARTBEAT_2
            | kind::IGNORABLE
            | kind::ROWS_QUERY
            | kind::PREVIOUS_GTIDS
            | kind::TRANSACTION_CONTEXT
            | kind::VIEW_CHANGE
            | kind::ANNOTATE_ROWS
            | kind::BINLOG_CHECKPOINT
            | kind::MARIADB_GTID_LIST
            // Of a statement that follows, and is judged then.
            | kind::INTVAR
            | kind::RAND
            | kind::USER_VAR => Ok(()),
            kind::MARIADB_GTID => self.begin_mariadb(event),
            kind::GTID => self.begin_mysql(event.data),
            kind::TABLE_MAP => self.table_map(event.data),
            23..=25 | 30..=32 => self.rows(event),
            kind::PARTIAL_UPDATE_ROWS => self.partial_rows(event.data),
            kind::QUERY => self.query(event.data, out),
            kind::XID => self.end(out),
            kind::XA_PREPARE => self.prepared(out),
            other => Err(Bad(unknown(other))),
        }
    }

    fn begin(&mut self, gtid: Gtid, begun: bool) -> Result<(), Bad> {
        if let Some(open) = &self.open
            && open.has_rows()
        {
            return Err(Bad(format!("{} begins before {} has ended", gtid.name(), open.gtid.name())));
        }
        self.open = Some(Open { gtid, begun, harvest: H::default(), bytes: 0 });
        Ok(())
    }

    /// Body: sequence number, domain, flags; flag 1: one statement, without an end of its own.
    fn begin_mariadb(&mut self, event: &RawEvent) -> Result<(), Bad> {
        let mut wire = Wire(event.data);
        let (sequence, domain, flags) = (wire.uint(8)?, wire.uint(4)?, wire.uint(1)?);
        let source = format!("{domain}-{}", event.server_id);
        self.begin(Gtid { source, sequence }, flags & 1 == 0)
    }

    /// Body: flags, uuid, number.
    fn begin_mysql(&mut self, data: &[u8]) -> Result<(), Bad> {
        let mut wire = Wire(data);
        wire.bytes(1)?;
        let mut source = String::with_capacity(36);
        for (at, byte) in wire.bytes(16)?.iter().enumerate() {
            use std::fmt::Write;
            let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
            // Writing to a String cannot fail.
            let _ = write!(source, "{dash}{byte:02x}");
        }
        self.begin(Gtid { source, sequence: wire.uint(8)? }, false)
    }

    fn table_map(&mut self, data: &[u8]) -> Result<(), Bad> {
        let id = Wire(data).uint(6)?;
        if self.tables.get(&id).is_some_and(|(event, _)| event == data) {
            return Ok(());
        }
        if self.tables.len() >= TABLES {
            self.tables.clear();
        }
        let (id, kind) = self.databases.table(data)?;
        self.tables.insert(id, (data.to_vec(), kind));
        Ok(())
    }

    fn rows(&mut self, event: &RawEvent) -> Result<(), Bad> {
        let rows = RowsEvent::read(event.event_type, event.data)?;
        if rows.table == NO_TABLE {
            return Ok(());
        }
        let Some((_, kind)) = self.tables.get(&rows.table) else {
            return Err(Bad::new("rows of a table that was not described"));
        };
        let Some(kind) = *kind else { return Ok(()) };
        let Some(open) = &mut self.open else {
            return Err(Bad::new("rows of ours outside a transaction"));
        };
        open.bytes += event.data.len();
        if open.bytes > self.limit {
            return Err(Bad(format!(
                "{} has more than {} MiB of rows, more than a tail takes",
                open.gtid.name(),
                self.limit >> 20
            )));
        }
        let (known, harvest) = (&self.known, &mut open.harvest);
        rows.rows(kind, |before, after| harvest.row(known, kind, before, after))
    }

    fn partial_rows(&self, data: &[u8]) -> Result<(), Bad> {
        let id = Wire(data).uint(6)?;
        match self.tables.get(&id) {
            Some((_, None)) => Ok(()),
            _ => Err(Bad::new("partial rows: binlog_row_value_options must be empty")),
        }
    }

    /// Head: thread, time (4 bytes each), length of the database's name (1), error (2), length of variables (2).
    fn query(&mut self, data: &[u8], out: &mut Vec<H::Item>) -> Result<(), Bad> {
        let mut wire = Wire(data);
        wire.bytes(8)?;
        let database_length = wire.length(1)?;
        wire.bytes(2)?;
        let variables_length = wire.length(2)?;
        wire.bytes(variables_length)?;
        let database = wire.bytes(database_length)?;
        wire.bytes(1)?;
        let ours = [self.databases.shards.as_str(), self.databases.meta.as_str()];
        let statement = judge(wire.0, database, ours);
        let (begun, has_rows) = match &self.open {
            Some(open) => (open.begun, open.has_rows()),
            None => (false, false),
        };
        match statement {
            Statement::Begin => {
                if let Some(open) = &mut self.open {
                    open.begun = true;
                }
                Ok(())
            }
            Statement::Rollback | Statement::RollbackTo if has_rows => {
                Err(Bad::new("rows of ours that were taken back, in a log of what was committed"))
            }
            Statement::Commit | Statement::Rollback => self.end(out),
            Statement::Within | Statement::RollbackTo => Ok(()),
            Statement::Harmless if begun => Ok(()),
            Statement::Harmless => self.end(out),
            Statement::Harmful => {
                let text: String =
                    String::from_utf8_lossy(wire.0).chars().take_while(|c| *c != '(').take(60).collect();
                Err(Bad(format!("a statement that may have changed tables of ours: `{}…`", text.trim())))
            }
        }
    }

    /// A transaction of two phases is in the log when it is prepared, whatever becomes of it.
    fn prepared(&mut self, out: &mut Vec<H::Item>) -> Result<(), Bad> {
        if self.open.as_ref().is_some_and(Open::has_rows) {
            return Err(Bad::new("rows of ours in an XA transaction"));
        }
        self.end(out)
    }

    /// The transaction is whole.
    fn end(&mut self, out: &mut Vec<H::Item>) -> Result<(), Bad> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let before = out.len();
        let Open { gtid, begun, harvest, .. } = open;
        let position = &self.position;
        let with_it = || {
            let mut position = position.clone();
            position.add(&gtid.source, gtid.sequence);
            position
        };
        if let Err(bad) = harvest.finish(&mut self.known, &with_it, out) {
            // Nothing of it is told, and it stays the one that was not understood.
            out.truncate(before);
            self.open = Some(Open { gtid, begun, harvest: H::default(), bytes: 0 });
            return Err(bad);
        }
        self.position.add(&gtid.source, gtid.sequence);
        Ok(())
    }
}

impl Gtid {
    fn name(&self) -> String {
        let separator = if self.source.len() == 36 { ':' } else { '-' };
        format!("transaction {}{separator}{}", self.source, self.sequence)
    }
}

/// Says what an event of a type that is not followed is, and what to set.
fn unknown(event_type: u8) -> String {
    let what = match event_type {
        kind::TRANSACTION_PAYLOAD => {
            "a compressed transaction: set binlog_transaction_compression = OFF, in sessions too"
        }
        165..=171 => "a compressed event: set log_bin_compress = OFF, in sessions too",
        164 => "an encrypted log: set encrypt_binlog = OFF",
        kind::INCIDENT => "an incident: the server lost events",
        kind::ANONYMOUS_GTID => "a transaction without a GTID: set gtid_mode = ON",
        kind::GTID_TAGGED => "a GTID with a tag: write with gtid_next = AUTOMATIC",
        17 | 18 => "LOAD DATA as a statement: set binlog_format = ROW, in sessions too",
        _ => "an event that this version does not know",
    };
    format!("{what} (event type {event_type})")
}
