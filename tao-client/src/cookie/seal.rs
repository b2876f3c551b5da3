//! The signed form of a cookie's value.
//!
//! URL-safe base64 without padding of: version (1), number of the key, mark of the cluster (4 bytes), content, and the
//! HMAC-SHA256 of all that. Content: the end of sticking to the master region in seconds since the Unix epoch, rounded up, as a
//! varint (0: does not stick); then the session's binary form.
//!
//! The signature covers a label of this use and the cluster's whole name as well: neither a signature that the same key made
//! for another purpose, nor one of another cluster, fits. The mark only tells the latter from a forgery.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::hmac;
use tao_schema::planted::{Bug, planted};
use tao_schema::session::Session;

use super::{CookieError, CookieKeys};

const VERSION: u8 = 1;
const LABEL: &[u8] = b"tao session cookie 1\0";
const MARK_BYTES: usize = 4;
const HEAD_BYTES: usize = 2 + MARK_BYTES;
const TAG_BYTES: usize = 32;
/// Seconds since the Unix epoch that take no more are good for a thousand years.
const MAX_UNTIL_BYTES: usize = 5;

/// What a cookie says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Content {
    pub(super) seen: Session,
    pub(super) master_until: Option<SystemTime>,
}

/// Signs and verifies for one cluster.
#[derive(Debug)]
pub(super) struct Seal {
    cluster: String,
    mark: [u8; MARK_BYTES],
    keys: CookieKeys,
}

impl Seal {
    pub(super) fn new(cluster: &str, keys: CookieKeys) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, cluster.as_bytes());
        let mut mark = [0; MARK_BYTES];
        mark.copy_from_slice(&digest.as_ref()[..MARK_BYTES]);
        Self { cluster: cluster.to_owned(), mark, keys }
    }

    /// Bytes that the session may take in a value of so many characters.
    pub(super) const fn session_bytes(max_value_chars: usize) -> usize {
        (max_value_chars * 3 / 4).saturating_sub(HEAD_BYTES + MAX_UNTIL_BYTES + TAG_BYTES)
    }

    pub(super) fn close(&self, content: &Content) -> String {
        let (id, key) = self.keys.signing();
        let mut bytes = vec![VERSION, id];
        bytes.extend(self.mark);
        let until = content.master_until.and_then(|until| until.duration_since(SystemTime::UNIX_EPOCH).ok());
        let until = until.map_or(0, |until| until.as_secs() + u64::from(until.subsec_nanos() > 0));
        prost::encoding::encode_varint(until, &mut bytes);
        bytes.extend(content.seen.to_bytes());
        let mut context = hmac::Context::with_key(key);
        self.signed_parts(&bytes).iter().for_each(|part| context.update(part));
        bytes.extend(context.sign().as_ref());
        BASE64.encode(bytes)
    }

    pub(super) fn open(&self, value: &str) -> Result<Content, CookieError> {
        let bytes = BASE64.decode(value).map_err(|_| CookieError::Malformed)?;
        let [VERSION, key, rest @ ..] = &bytes[..] else { return Err(CookieError::Malformed) };
        let (mark, rest) = rest.split_first_chunk::<MARK_BYTES>().ok_or(CookieError::Malformed)?;
        let (mut content, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(CookieError::Malformed)?;
        if *mark != self.mark {
            return Err(CookieError::OtherCluster);
        }
        let key = self.keys.verifying(*key).ok_or(CookieError::UnknownKey { key: *key })?;
        let signed = self.signed_parts(&bytes[..bytes.len() - TAG_BYTES]).concat();
        // In constant time.
        let forged = hmac::verify(key, &signed, tag).is_err();
        if forged && !planted(Bug::ForgedCookieTaken) {
            return Err(CookieError::Forged);
        }

        let until = prost::encoding::decode_varint(&mut content).map_err(|_| CookieError::Malformed)?;
        let master_until = match until {
            0 => None,
            until => SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(until)),
        };
        let seen = Session::from_bytes(content).map_err(|_| CookieError::Malformed)?;
        Ok(Content { seen, master_until })
    }

    fn signed_parts<'a>(&'a self, bytes: &'a [u8]) -> [&'a [u8]; 4] {
        // Names have no NUL: the name ends where it says.
        [LABEL, self.cluster.as_bytes(), b"\0", bytes]
    }
}
