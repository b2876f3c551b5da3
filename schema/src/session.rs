//! What a user has seen: the positions behind "read your own writes" and "never go back" (PROTOCOL R19).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};
use crate::ids::{Epoch, Position, Seq, ShardId};
use crate::limits::MAX_SHARDS;

/// Version of the text form.
const FORMAT: u8 = 1;
/// Longest text that is read. Every shard of the largest cluster at its longest (1 + 5 + 10 bytes) still fits.
const MAX_TEXT_BYTES: usize = 1_500_000;
/// Bytes of the check sum at the end.
const CHECK_BYTES: usize = 4;

/// The positions that a user has written or read, one for each shard.
///
/// Every reply carries positions; who merges them here ([`Session::observe`]) and sends [`Session::at_least`] with the
/// next read never sees older data than before, on any node. It holds at most one entry for each shard of the cluster:
/// the greatest seq of the newest epoch.
///
/// ```
/// use tao_schema::ids::{Epoch, Position, Seq, ShardId};
/// use tao_schema::session::Session;
///
/// let wrote = Position { shard: ShardId(7), epoch: Epoch(1), seq: Seq(42) };
/// let mut session = Session::new();
/// session.observe(wrote);
///
/// let elsewhere: Session = session.to_string().parse()?;
/// assert_eq!(elsewhere.at_least(ShardId(7)), Some(wrote));
/// # Ok::<(), tao_schema::Error>(())
/// ```
///
/// # Text form
/// [`fmt::Display`] and [`FromStr`] hand a session to another process. It is URL-safe base64 without padding of: format
/// (1 byte: 1), number of entries, then for each entry, ascending by (shard, epoch): shard, epoch, seq; then the low 4
/// bytes, little endian, of the `xxh3_64` of all that. Numbers are LEB128 varints; a shard is written as the difference
/// to the one before. The form allows several epochs of one shard; today the newest wins when they are read. The check
/// sum finds accidents, not forgery: do not yet accept a session from someone you do not trust.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Session {
    seen: BTreeMap<ShardId, (Epoch, Seq)>,
}

impl Session {
    /// A session that has seen nothing.
    pub const fn new() -> Self {
        Self { seen: BTreeMap::new() }
    }

    /// Notes a position of a reply. A newer epoch replaces, an older one is passed over; within an epoch the greater
    /// seq stays.
    pub fn observe(&mut self, position: Position) {
        let seen = (position.epoch, position.seq);
        let entry = self.seen.entry(position.shard).or_insert(seen);
        *entry = seen.max(*entry);
    }

    /// Notes everything that another session has seen.
    pub fn merge(&mut self, other: &Self) {
        for position in other.positions() {
            self.observe(position);
        }
    }

    /// What a read of this shard must not be older than; `None`: anything will do.
    pub fn at_least(&self, shard: ShardId) -> Option<Position> {
        self.seen.get(&shard).map(|&(epoch, seq)| Position { shard, epoch, seq })
    }

    /// All positions, in ascending order of shard.
    pub fn positions(&self) -> impl ExactSizeIterator<Item = Position> {
        self.seen.iter().map(|(&shard, &(epoch, seq))| Position { shard, epoch, seq })
    }

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

impl Extend<Position> for Session {
    fn extend<T: IntoIterator<Item = Position>>(&mut self, positions: T) {
        for position in positions {
            self.observe(position);
        }
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![FORMAT];
        put(&mut bytes, self.seen.len() as u64);
        let mut before = 0;
        for position in self.positions() {
            put(&mut bytes, u64::from(position.shard.0 - before));
            put(&mut bytes, u64::from(position.epoch.0));
            put(&mut bytes, position.seq.0);
            before = position.shard.0;
        }
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
        let wrong = |why: &str| Error::invalid(format!("the session can't be read: {why}; start a new one"));
        if text.len() > MAX_TEXT_BYTES {
            return Err(wrong("it is too long"));
        }
        let bytes = BASE64.decode(text.trim()).map_err(|_| wrong("it is not base64"))?;
        let end = bytes.len().checked_sub(CHECK_BYTES).ok_or_else(|| wrong("it is too short"))?;
        let (body, sum) = bytes.split_at(end);
        if check_sum(body) != sum {
            return Err(wrong("it is damaged"));
        }
        let [FORMAT, rest @ ..] = body else {
            return Err(wrong("its format is unknown to this program"));
        };
        let mut rest = rest;
        read_entries(&mut rest).filter(|_| rest.is_empty()).ok_or_else(|| wrong("its entries are damaged"))
    }
}

fn read_entries(rest: &mut &[u8]) -> Option<Session> {
    let mut session = Session::new();
    let entries = take(rest)?;
    let mut shard = 0u64;
    // An entry takes at least three bytes, so the length of the text bounds this loop.
    for _ in 0..entries {
        shard = shard.checked_add(take(rest)?).filter(|shard| *shard < u64::from(MAX_SHARDS))?;
        session.observe(Position {
            shard: ShardId(u16::try_from(shard).ok()?),
            epoch: Epoch(u32::try_from(take(rest)?).ok()?),
            seq: Seq(take(rest)?),
        });
    }
    Some(session)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(shard: u16, epoch: u32, seq: u64) -> Position {
        Position { shard: ShardId(shard), epoch: Epoch(epoch), seq: Seq(seq) }
    }

    #[test]
    fn keeps_the_greatest_of_the_newest_epoch() {
        let mut session = Session::new();
        assert_eq!(session.at_least(ShardId(3)), None);
        session.extend([at(3, 1, 9), at(3, 1, 4)]);
        assert_eq!(session.at_least(ShardId(3)), Some(at(3, 1, 9)));
        session.observe(at(3, 2, 5));
        assert_eq!(session.at_least(ShardId(3)), Some(at(3, 2, 5)), "a newer epoch wins");
        session.observe(at(3, 1, 100));
        assert_eq!(session.at_least(ShardId(3)), Some(at(3, 2, 5)), "an older one does not");
        let mut other = Session::new();
        other.extend([at(3, 2, 6), at(9, 1, 1)]);
        session.merge(&other);
        assert_eq!(session.positions().collect::<Vec<_>>(), [at(3, 2, 6), at(9, 1, 1)]);
    }

    #[test]
    fn the_text_form_is_fixed() {
        let mut session = Session::new();
        assert_eq!(session.to_string().parse::<Session>().unwrap(), session);
        session.extend([at(3, 1, 300), at(65_535, u32::MAX, u64::MAX)]);
        insta::assert_snapshot!(session.to_string(), @"AQIDAawC_P8D_____w____________8BMvH8Ng");
    }

    #[test]
    fn other_texts_are_refused() {
        let refused = |text: &str| text.parse::<Session>().unwrap_err().message;
        insta::assert_snapshot!(refused("!"), @"the session can't be read: it is not base64; start a new one");
        insta::assert_snapshot!(refused("AQ"), @"the session can't be read: it is too short; start a new one");
        insta::assert_snapshot!(refused(&"A".repeat(MAX_TEXT_BYTES + 1)), @"the session can't be read: it is too long; start a new one");
        let sealed = |body: &[u8]| BASE64.encode([body, &check_sum(body)].concat());
        insta::assert_snapshot!(refused(&sealed(&[2, 0])), @"the session can't be read: its format is unknown to this program; start a new one");
        let damaged = refused(&sealed(&[1, 1]));
        insta::assert_snapshot!(damaged, @"the session can't be read: its entries are damaged; start a new one");
        assert_eq!(refused(&sealed(&[1, 0, 0])), damaged, "bytes behind the last entry");
        assert_eq!(refused(&sealed(&[1, 2, 1, 1, 1, 0xff, 0xff, 3, 1, 1])), damaged, "a shard above 65535");
        let most = sealed(&[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
        assert_eq!(refused(&most), damaged, "more entries than there are bytes");
    }

    proptest! {
        #[test]
        fn comes_back_as_it_was(all in proptest::collection::vec(any::<(u16, u32, u64)>(), 0..40)) {
            let mut session = Session::new();
            session.extend(all.into_iter().map(|(shard, epoch, seq)| at(shard, epoch, seq)));
            prop_assert_eq!(session.to_string().parse::<Session>().unwrap(), session);
        }

        #[test]
        fn a_changed_letter_is_found(at_letter in 0usize..20, letter in "[a-zA-Z0-9]") {
            let mut session = Session::new();
            session.extend([at(1, 1, 1 << 40), at(2, 1, 77)]);
            let text = session.to_string();
            let mut changed = text.clone();
            let place = at_letter % text.len();
            changed.replace_range(place..=place, &letter);
            prop_assume!(changed != text);
            prop_assert!(changed.parse::<Session>().is_err());
        }
    }
}
