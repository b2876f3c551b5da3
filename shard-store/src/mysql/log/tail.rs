//! The stream of events: checked, decoded, and given out by whole transactions.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use mysql_async::binlog::BinlogChecksumAlg;
use mysql_async::binlog::events::Event;
use mysql_async::{BinlogStream, DriverError, Error, IoError};
use tokio::time::Instant;

use super::connect::HEARTBEAT_EVERY;
use super::decoder::{Decoder, RawEvent};
use super::harvest::Harvest;
use super::raw::RawRows;
use super::transaction::Transaction;
use super::{Bad, State};
use crate::log::{LogPosition, LogTail, TailError, TailErrorKind, TailEvent};
use crate::moves::{RawTail, RawTransaction};

/// A server that says nothing for so long, not even that there is nothing, is gone.
const SILENCE: Duration = HEARTBEAT_EVERY.saturating_mul(10);
/// A caller that comes back after a while hears what has come meanwhile before the silence counts.
const LISTEN: Duration = Duration::from_millis(100);
/// Given out at once, at most, give or take a transaction.
const BATCH: usize = 1_024;

/// A tail of one server.
pub(in crate::mysql) struct MySqlTail<H: Harvest = Transaction> {
    stream: BinlogStream,
    decoder: Decoder<H>,
    server: Arc<str>,
    log: Arc<State>,
    /// Since when the server has said nothing, while somebody listens.
    silent: Option<Instant>,
    /// The end, once it has come.
    failed: Option<TailError>,
}

/// What the stream has: an event, or its end.
type Item = Option<Result<Event, Error>>;

impl<H: Harvest> MySqlTail<H> {
    pub(super) fn new(stream: BinlogStream, decoder: Decoder<H>, server: Arc<str>, log: Arc<State>) -> Self {
        Self { stream, decoder, server, log, silent: None, failed: None }
    }

    /// Reads until the server has told the format of its log: before that it says what it can't give.
    pub(super) async fn start(&mut self) -> Result<(), TailError> {
        let mut none = Vec::new();
        while !self.decoder.started {
            let item = self.wait().await?;
            self.take(item, &mut none)?;
        }
        Ok(())
    }

    /// The stream's next item. Cancel-safe: all that has come of it stays in the stream.
    async fn wait(&mut self) -> Result<Item, TailError> {
        let now = Instant::now();
        let silent = *self.silent.get_or_insert(now);
        let until = (silent + SILENCE).max(now + LISTEN);
        // The driver panics on an event that is shorter than its header says.
        let next = AssertUnwindSafe(self.stream.next()).catch_unwind();
        match tokio::time::timeout_at(until, next).await {
            Ok(Ok(item)) => {
                self.silent = None;
                Ok(item)
            }
            Ok(Err(_)) => Err(self.bad(&Bad::new("an event that the driver can't read"))),
            Err(_) => {
                let message = format!(
                    "{}: its log says nothing for {SILENCE:?} after {}",
                    self.server,
                    self.decoder.position()
                );
                Err(TailError::new(TailErrorKind::Disconnected, message))
            }
        }
    }

    /// What has come already; does not wait.
    fn ready(&mut self) -> Result<Option<Item>, TailError> {
        let next = AssertUnwindSafe(self.stream.next()).catch_unwind();
        match next.now_or_never() {
            None => Ok(None),
            Some(Ok(item)) => Ok(Some(item)),
            Some(Err(_)) => Err(self.bad(&Bad::new("an event that the driver can't read"))),
        }
    }

    fn take(&mut self, item: Item, out: &mut Vec<H::Item>) -> Result<(), TailError> {
        let event = match item {
            Some(Ok(event)) => event,
            Some(Err(error)) => return Err(failed(&error, &self.server)),
            None => {
                let message = format!("{}: the server ended its log's stream", self.server);
                return Err(TailError::new(TailErrorKind::Disconnected, message));
            }
        };
        if self.decoder.started {
            verify(&event).map_err(|bad| self.bad(&bad))?;
        }
        let header = event.header();
        let raw = RawEvent {
            event_type: header.event_type_raw(),
            server_id: header.server_id(),
            data: event.data(),
        };
        self.decoder.event(&raw, out).map_err(|bad| self.bad(&bad))
    }

    /// Remembers what was not understood, so that the next tail starts behind it.
    fn bad(&self, Bad(what): &Bad) -> TailError {
        *self.log.behind.lock() = self.decoder.position_behind();
        let position = self.decoder.position();
        let message = format!("{}: after {position} the log holds {what}", self.server);
        TailError::new(TailErrorKind::NotUnderstood, message)
    }

    /// Waits for something to give out, and takes what has come with it; `quiet`: or for any event at all.
    async fn fill(&mut self, out: &mut Vec<H::Item>, quiet: bool) -> Result<(), TailError> {
        loop {
            let item = self.wait().await?;
            self.take(item, out)?;
            if quiet || !out.is_empty() {
                break;
            }
        }
        while out.len() < BATCH {
            match self.ready()? {
                Some(item) => self.take(item, out)?,
                None => break,
            }
        }
        Ok(())
    }
}

impl<H: Harvest> MySqlTail<H> {
    async fn give(&mut self, quiet: bool) -> Result<Vec<H::Item>, TailError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        // Nothing is awaited once there is something to give out: so it can't be lost with the call.
        let mut out = Vec::new();
        if let Err(error) = self.fill(&mut out, quiet).await {
            self.failed = Some(error.clone());
            if out.is_empty() {
                return Err(error);
            }
        }
        Ok(out)
    }
}

#[async_trait]
impl RawTail for MySqlTail<RawRows> {
    async fn next(&mut self) -> Result<Vec<RawTransaction>, TailError> {
        self.give(true).await
    }

    fn position(&self) -> LogPosition {
        self.decoder.position().clone()
    }
}

#[async_trait]
impl LogTail for MySqlTail {
    async fn next(&mut self) -> Result<Vec<TailEvent>, TailError> {
        self.give(false).await
    }

    fn position(&self) -> LogPosition {
        self.decoder.position().clone()
    }
}

/// The driver strips checksums and does not look at them.
fn verify(event: &Event) -> Result<(), Bad> {
    let algorithm =
        event.footer().get_checksum_alg().map_err(|_| Bad::new("a checksum of an unknown kind"))?;
    let (Some(BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_CRC32), Some(checksum)) = (algorithm, event.checksum())
    else {
        return Ok(());
    };
    let expected = event.calc_checksum(BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_CRC32);
    if u32::from_le_bytes(checksum) == expected {
        Ok(())
    } else {
        Err(Bad::new("an event with a wrong checksum"))
    }
}

/// What an error of the stream means.
pub(super) fn failed(error: &Error, server: &str) -> TailError {
    use TailErrorKind::{Disconnected, NotUnderstood, PositionLost};
    let (kind, text) = match error {
        // MySQL has no code of its own for "A slave with the same server_uuid/server_id as this slave has connected".
        Error::Server(error) if error.code == 4052 || error.message.contains("same server_") => {
            (Disconnected, "another process follows the log under the same server id".to_owned())
        }
        Error::Server(error) if error.code == 1236 => {
            (PositionLost, format!("the log does not have what follows: {}", error.message))
        }
        Error::Server(error) if matches!(error.code, 1045 | 1227) => {
            (Disconnected, "the log is refused: the account needs REPLICATION SLAVE".to_owned())
        }
        Error::Server(error) => (Disconnected, format!("the log is refused: error {}", error.code)),
        Error::Driver(DriverError::PacketTooLarge) => {
            (NotUnderstood, "an event larger than a packet may be".to_owned())
        }
        Error::Io(IoError::Io(error))
            if matches!(
                error.kind(),
                std::io::ErrorKind::InvalidData
                    | std::io::ErrorKind::InvalidInput
                    | std::io::ErrorKind::Other
            ) =>
        {
            (NotUnderstood, format!("an event that the driver can't read: {error}"))
        }
        Error::Io(error) => (Disconnected, format!("connection lost: {error}")),
        Error::Driver(DriverError::ConnectionClosed) => (Disconnected, "connection closed".to_owned()),
        _ => (Disconnected, "the driver failed".to_owned()),
    };
    TailError::new(kind, format!("{server}: {text}"))
}
