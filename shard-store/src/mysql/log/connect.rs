//! Where a tail starts, and the connection that the server sends its log over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStream, BinlogStreamRequest, Conn, GnoInterval, Sid};
use tao_schema::ids::ShardId;

use super::super::Inner;
use super::super::admin;
use super::super::dialect::Flavour;
use super::super::statements::{TAIL_MARIADB, TAIL_MYSQL};
use super::decoder::Decoder;
use super::harvest::Harvest;
use super::raw::{RawKnown, RawRows};
use super::state;
use super::table::Databases;
use super::tail::{MySqlTail, failed};
use super::transaction::{Known, ShardImage};
use crate::log::{LogPosition, TailError, TailErrorKind, TailStart};
use crate::store::StoreError;
use tao_schema::planted::{Bug, planted};

/// A server that has nothing to say says so this often.
pub(super) const HEARTBEAT_EVERY: Duration = Duration::from_secs(2);
/// How long the server waits for a reader that is slow, in seconds: as good as for ever, because a dump that it ends
/// looks like a broken connection.
const WRITE_TIMEOUT: u64 = 600;
/// Ids of tails have the highest bit set; servers' own ids are small by custom.
const TAIL_IDS: u32 = 1 << 31;

/// The server takes a tail for a replica, and lets one of each id connect: another with the same id ends the first. So
/// each tail has an id of its own.
pub(super) fn random_id() -> u32 {
    TAIL_IDS | rand::random::<u32>()
}

/// Opens a tail.
pub(in crate::mysql) async fn open(
    inner: &Inner,
    start: TailStart,
    server_id: u32,
) -> Result<MySqlTail, TailError> {
    let unavailable = |error: StoreError| TailError::new(TailErrorKind::Disconnected, error.message);
    let known = unreadable(inner).await.map_err(unavailable)?;
    match start {
        TailStart::After(position) => {
            executed_by(inner, &position).await?;
            open_at(inner, position, known, server_id).await
        }
        TailStart::Back(_) if planted(Bug::StartAtPresent) => {
            let executed = state::executed(inner).await.map_err(unavailable)?;
            open_at(inner, executed, known, server_id).await
        }
        TailStart::Back(time) => {
            let candidates = candidates(inner, time).await.map_err(unavailable)?;
            let mut purged = TailError::new(TailErrorKind::PositionLost, "nowhere to start");
            for position in candidates {
                match open_at(inner, position, known.clone(), server_id).await {
                    Err(error) if error.kind == TailErrorKind::PositionLost => purged = error,
                    other => return other,
                }
            }
            Err(purged)
        }
    }
}

/// Shards whose rows are not news: seen now, so that it is known before their next shard row comes (R9).
async fn unreadable(inner: &Inner) -> Result<Known, StoreError> {
    let rows = admin::shard_rows(inner).await?;
    let rows = rows.into_iter().filter(|row| !row.state.readable());
    Ok(rows.map(|row| (row.shard, ShardImage { epoch: row.epoch, seq: row.seq, state: row.state })).collect())
}

/// Where to start, the best first: the newest mark that is old enough, or else the oldest; if the log does not reach
/// back so far, later marks; at last, now. Never before a transaction that was not understood (R9): it would not be
/// understood again.
async fn candidates(inner: &Inner, back: Duration) -> Result<Vec<LogPosition>, StoreError> {
    let marks = state::marks(inner).await?;
    let behind = inner.log.behind.lock().clone();
    let age = u64::try_from(back.as_millis()).unwrap_or(u64::MAX);
    let old = |mark: &state::Mark| mark.at.saturating_add(age) <= mark.now;
    let first = marks.iter().rposition(old).unwrap_or(0);
    let mut candidates: Vec<_> = marks.into_iter().skip(first).map(|mark| mark.position).collect();
    if candidates.first().is_some_and(|first| !first.covers(&behind)) {
        candidates.retain(|position| position.covers(&behind));
        candidates.insert(0, behind);
    }
    candidates.push(state::executed(inner).await?);
    Ok(candidates)
}

/// Opens the log of one shard's rows, see [`crate::moves::ShardMover::raw_tail`].
pub(in crate::mysql) async fn open_raw(
    inner: &Inner,
    shard: ShardId,
    position: LogPosition,
) -> Result<MySqlTail<RawRows>, TailError> {
    executed_by(inner, &position).await?;
    open_at(inner, position, RawKnown::of(shard), random_id()).await
}

/// Checks that the server has all of `position`: from further on, it has nothing to tell.
async fn executed_by(inner: &Inner, position: &LogPosition) -> Result<(), TailError> {
    let executed = state::executed(inner)
        .await
        .map_err(|error| TailError::new(TailErrorKind::Disconnected, error.message))?;
    if executed.covers(position) {
        return Ok(());
    }
    let message = format!(
        "{}: has not executed {}: it is behind, or of another history",
        inner.server,
        position.without(&executed)
    );
    Err(TailError::new(TailErrorKind::PositionLost, message))
}

async fn open_at<H: Harvest>(
    inner: &Inner,
    position: LogPosition,
    known: H::Known,
    server_id: u32,
) -> Result<MySqlTail<H>, TailError> {
    let limit = inner.options.connect_timeout;
    let stream = match tokio::time::timeout(limit, request(inner, &position, server_id)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(failed(&error, &inner.server)),
        Err(_) => {
            let message = format!("{}: open the log: no answer within {limit:?}", inner.server);
            return Err(TailError::new(TailErrorKind::Disconnected, message));
        }
    };
    let databases = Databases::of(&inner.options.database).all_tables(H::ALL_TABLES);
    let decoder = Decoder::new(databases, inner.options.tail_transaction_bytes, position, known);
    // What a tail for a move does not understand is no reason for a leader's to start behind it.
    let log =
        if H::ALL_TABLES { Arc::new(state::State::new(&inner.options.database)) } else { inner.log.clone() };
    let mut tail = MySqlTail::new(stream, decoder, inner.server.clone(), log);
    // What can't be had is refused now.
    tail.start().await?;
    Ok(tail)
}

async fn request(
    inner: &Inner,
    position: &LogPosition,
    server_id: u32,
) -> Result<BinlogStream, mysql_async::Error> {
    let mut conn = Conn::new(inner.tail_opts.clone()).await?;
    let period = HEARTBEAT_EVERY.as_nanos() as u64;
    let request = BinlogStreamRequest::new(server_id);
    match inner.dialect.flavour {
        Flavour::MariaDb => {
            let params = (connect_state(position), period, WRITE_TIMEOUT);
            conn.exec_drop(TAIL_MARIADB.body(), params).await?;
            conn.get_binlog_stream(request).await
        }
        Flavour::MySql => {
            conn.exec_drop(TAIL_MYSQL.body(), (period, period, WRITE_TIMEOUT)).await?;
            conn.get_binlog_stream(request.with_gtid().with_gtid_set(sids(position))).await
        }
    }
}

/// MariaDB takes one GTID for each domain: its last. Sequence numbers grow within a domain, whoever writes
/// (`gtid_strict_mode`), so that is the highest.
fn connect_state(position: &LogPosition) -> String {
    let mut last: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
    for (source, intervals) in position.sources() {
        let Some((domain, _)) = source.split_once('-') else { continue };
        let sequence = intervals.last().map_or(0, |interval| interval.1);
        let newest = last.entry(domain).or_insert((sequence, source));
        if sequence > newest.0 {
            *newest = (sequence, source);
        }
    }
    let gtids: Vec<_> = last.values().map(|(sequence, source)| format!("{source}-{sequence}")).collect();
    gtids.join(",")
}

/// MySQL takes sets; the ends of its intervals are exclusive.
fn sids(position: &LogPosition) -> Vec<Sid<'static>> {
    let sids = position.sources().filter_map(|(source, intervals)| {
        let hex: String = source.chars().filter(|c| *c != '-').collect();
        let uuid = u128::from_str_radix(&hex, 16).ok()?.to_be_bytes();
        let intervals =
            intervals.iter().map(|(first, last)| GnoInterval::new(*first, last.saturating_add(1)));
        Some(Sid::new(uuid).with_intervals(intervals.collect()))
    });
    sids.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_becomes_what_each_server_asks_for() {
        let position: LogPosition = "0-1-117,0-2-130,5-1-7".parse().unwrap();
        assert_eq!(connect_state(&position), "0-2-130,5-1-7");
        assert_eq!(connect_state(&LogPosition::none()), "");

        let position: LogPosition = "11111111-2222-3333-4444-555555555555:1-5:7".parse().unwrap();
        let sids = sids(&position);
        let bounds: Vec<_> = sids[0].intervals().iter().map(|i| (i.start(), i.end())).collect();
        assert_eq!((sids.len(), bounds), (1, vec![(1, 6), (7, 8)]));
        assert_eq!(sids[0].uuid()[..6], [0x11, 0x11, 0x11, 0x11, 0x22, 0x22]);
    }
}
