//! The binary and the text form of a session.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use xxhash_rust::xxh3::xxh3_64;

use super::{GroupTimes, MAX_SECONDS, Seen, Session, When};
use crate::error::{Error, Result};
use crate::ids::{Epoch, HostGroupId, Position, Seq, ShardId};
use crate::limits::{MAX_LINEAGE, MAX_SHARDS};
use crate::topology::MAX_HOST_GROUPS;

/// The form that is written.
const FORMAT: u8 = 2;
/// The first form: positions only.
const FORMAT_1: u8 = 1;
/// Longest text that is read. A position of every shard of the largest cluster, with its times, takes about a third.
const MAX_TEXT_BYTES: usize = 4 << 20;
/// Positions that are read at most: two epochs of every shard of the largest cluster.
const MAX_POSITIONS: u64 = 2 * MAX_SHARDS as u64;
/// Bytes of the check sum at the end of a text.
const CHECK_BYTES: usize = 4;

impl Session {
    /// The binary form. Numbers are LEB128 varints; ids are written as differences to the one before.
    ///
    /// - 1 byte: 2, the format;
    /// - number of host groups; the latest time of any in seconds; for each group, ascending: id, how much earlier its latest
    ///   time is, and 0, or 1 + the zigzag difference of its floor to its latest time;
    /// - the latest time of observation in seconds; number of positions; for each, ascending by (shard, epoch): shard, epoch,
    ///   seq, then 0, or the index from 1 of its host group above and two ages in seconds: of its commit before the group's
    ///   latest time, and of its observation before the latest one.
    pub fn to_bytes(&self) -> Vec<u8> {
        let used = self.groups_to_write();
        let mut bytes = vec![FORMAT];
        put(&mut bytes, used.len() as u64);
        let base_s = used.iter().map(|(_, times)| times.latest_s).max().unwrap_or(0);
        put(&mut bytes, base_s);
        let mut before = 0;
        for (group, times) in &used {
            put(&mut bytes, u64::from(group.0 - before));
            put(&mut bytes, base_s - times.latest_s);
            // Before or after the latest time, as the slack may lead beyond it.
            let floor = if times.floor_s == 0 { 0 } else { 1 + zigzag(times.floor_s, times.latest_s) };
            put(&mut bytes, floor);
            before = group.0;
        }
        let newest_s = self.entries().map(|when| when.at_s).max().unwrap_or(0);
        put(&mut bytes, newest_s);
        put(&mut bytes, self.seen.len() as u64);
        let mut before = 0;
        for (&(shard, epoch), seen) in &self.seen {
            put(&mut bytes, u64::from(shard.0 - before));
            put(&mut bytes, u64::from(epoch.0));
            put(&mut bytes, seen.seq.0);
            before = shard.0;
            let group = seen.when.and_then(|when| {
                let at = used.binary_search_by_key(&when.group, |(group, _)| *group).ok()?;
                Some((at, when))
            });
            let Some((at, when)) = group else {
                put(&mut bytes, 0);
                continue;
            };
            put(&mut bytes, at as u64 + 1);
            put(&mut bytes, used[at].1.latest_s.saturating_sub(when.time_s));
            put(&mut bytes, newest_s - when.at_s);
        }
        bytes
    }

    /// Reads the binary form, of this or the first format.
    ///
    /// # Errors
    /// [`crate::ErrorCode::InvalidArgument`] if the bytes are too many, damaged or of another format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_TEXT_BYTES {
            return Err(wrong("it is too long"));
        }
        let session = match bytes {
            [FORMAT, rest @ ..] => read(rest),
            [FORMAT_1, rest @ ..] => read_first_format(rest),
            _ => return Err(wrong("its format is unknown to this program")),
        };
        session.ok_or_else(|| wrong("its entries are damaged"))
    }

    /// What no entry refers to and has no floor need not be remembered.
    fn groups_to_write(&self) -> Vec<(HostGroupId, GroupTimes)> {
        let referred: BTreeSet<HostGroupId> = self.entries().map(|when| when.group).collect();
        let used = self.groups.iter().filter(|(group, times)| times.floor_s > 0 || referred.contains(group));
        used.map(|(group, times)| (*group, *times)).collect()
    }

    fn entries(&self) -> impl Iterator<Item = When> {
        self.seen.values().filter_map(|seen| seen.when)
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.to_bytes();
        let sum = check_sum(&bytes);
        bytes.extend(sum);
        f.write_str(&BASE64.encode(bytes))
    }
}

impl FromStr for Session {
    type Err = Error;

    /// Reads the text form.
    ///
    /// # Errors
    /// [`crate::ErrorCode::InvalidArgument`] if the text is too long, damaged or of another format.
    fn from_str(text: &str) -> Result<Self> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(wrong("it is too long"));
        }
        let bytes = BASE64.decode(text.trim()).map_err(|_| wrong("it is not base64"))?;
        let end = bytes.len().checked_sub(CHECK_BYTES).ok_or_else(|| wrong("it is too short"))?;
        let (body, sum) = bytes.split_at(end);
        if check_sum(body) != sum {
            return Err(wrong("it is damaged"));
        }
        Self::from_bytes(body)
    }
}

fn wrong(why: &str) -> Error {
    Error::invalid(format!("the session can't be read: {why}; start a new one"))
}

fn read(mut rest: &[u8]) -> Option<Session> {
    let rest = &mut rest;
    let mut session = Session::new();
    let mut groups = Vec::new();
    let (count, mut group) = (take(rest)?, 0u64);
    if count > MAX_HOST_GROUPS as u64 {
        return None;
    }
    let base_s = take(rest).filter(|seconds| *seconds <= MAX_SECONDS)?;
    for at in 0..count {
        let step = take(rest)?;
        group = group.checked_add(step).filter(|_| at == 0 || step > 0)?;
        let id = HostGroupId(u16::try_from(group).ok()?);
        let latest_s = base_s.checked_sub(take(rest)?)?;
        let floor_s = take(rest)?.checked_sub(1).map_or(Some(0), |floor| unzigzag(floor, latest_s))?;
        let times = GroupTimes { floor_s, latest_s };
        session.groups.insert(id, times);
        groups.push((id, times));
    }
    let newest_s = take(rest)?;
    read_positions(rest, &mut session, |rest| {
        let Some(at) = take(rest)?.checked_sub(1) else { return Some(None) };
        let (group, times) = *groups.get(usize::try_from(at).ok()?)?;
        let time_s = times.latest_s.checked_sub(take(rest)?)?;
        Some(Some(When { group, time_s, at_s: newest_s.checked_sub(take(rest)?)? }))
    })?;
    rest.is_empty().then_some(session)
}

fn read_first_format(mut rest: &[u8]) -> Option<Session> {
    let mut session = Session::new();
    read_positions(&mut rest, &mut session, |_| Some(None))?;
    rest.is_empty().then_some(session)
}

fn read_positions(
    rest: &mut &[u8],
    session: &mut Session,
    when: impl Fn(&mut &[u8]) -> Option<Option<When>>,
) -> Option<()> {
    let count = take(rest).filter(|count| *count <= MAX_POSITIONS)?;
    let (mut shard, mut epochs) = (0u64, 0usize);
    for at in 0..count {
        let step = take(rest)?;
        epochs = if step == 0 && at > 0 { epochs + 1 } else { 1 };
        if epochs > MAX_LINEAGE {
            return None;
        }
        shard = shard.checked_add(step).filter(|shard| *shard < u64::from(MAX_SHARDS))?;
        let position = Position {
            shard: ShardId(u16::try_from(shard).ok()?),
            epoch: Epoch(u32::try_from(take(rest)?).ok()?),
            seq: Seq(take(rest)?),
        };
        let seen = Seen { seq: position.seq, when: when(rest)? };
        session.note(position, seen.when);
    }
    Some(())
}

fn check_sum(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    (xxh3_64(bytes) as u32).to_le_bytes()
}

fn put(bytes: &mut Vec<u8>, value: u64) {
    prost::encoding::encode_varint(value, bytes);
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    prost::encoding::decode_varint(rest).ok()
}

/// The difference of two times, each at most [`MAX_SECONDS`], as a number that is small when they are close.
const fn zigzag(value: u64, base: u64) -> u64 {
    let difference = value.wrapping_sub(base) as i64;
    ((difference << 1) ^ (difference >> 63)) as u64
}

fn unzigzag(coded: u64, base: u64) -> Option<u64> {
    let difference = (coded >> 1) as i64 ^ -((coded & 1) as i64);
    base.checked_add_signed(difference).filter(|value| *value <= MAX_SECONDS)
}
