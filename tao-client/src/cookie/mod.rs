//! What a user has seen, in an HTTP cookie: so that his next request, to any web server of any region, reads his own writes.
//!
//! The web server reads the cookie of a request into a [`SessionClient`], works with it, and writes it back:
//!
//! ```
//! # tao_client::testing::run(async |client: tao_client::Client| {
//! use tao_client::cookie::{CookieKeys, CookieOptions, SessionCookie};
//!
//! let keys = CookieKeys::new(1, b"32 bytes or more from a secret store")?;
//! let cookie = SessionCookie::new(&client.topology().cluster, keys, CookieOptions::default())?;
//!
//! // A request without a cookie, that writes.
//! let (session, bad) = cookie.read_or_master(&client, None);
//! assert!(bad.is_none());
//! let ann = session.object_add("user").set("name", "Ann").send().await?.id;
//! let written = cookie.write(&session);
//! assert!(written.set_cookie.starts_with("tao_session=") && written.fallback.is_none());
//!
//! // The next request of the same browser, perhaps in another region.
//! let header = format!("theme=dark; {}", written.set_cookie.split(';').next().unwrap_or_default());
//! let (session, bad) = cookie.read_or_master(&client, Some(&header));
//! assert!(bad.is_none());
//! assert!(session.object_get(ann).send().await?.is_some(), "his own write is there");
//! # Ok(())
//! # });
//! ```
//!
//! # What it promises
//! The cookie is signed (HMAC-SHA256) for one cluster, because a position that was made up would send reads to the primary
//! for nothing, or fail them as lost. It is not secret: it tells numbers of shards, how far their logs were, and when. Who
//! replays an old cookie of his own reads as of then, or newer. It has no date of expiry: nothing that it promises gets
//! wrong with age, so no clock of a web server decides about it. (One does about the time for which a session sticks to the
//! master region, [`MAX_STICK`] at most, from the reader's clock on.)
//!
//! # When it is too small
//! About 60 positions fit. A session that outgrows the cookie folds those that are older than the loss window into times (see
//! [`tao_schema::session::Session::shrink`]). If the ones that are left are too young, [`Written::fallback`] says what was given
//! up. Pages that read from hundreds of shards get there: read with the session what the user wrote or must not see go back, and
//! the rest with the plain client. Where every host group is `lossless`, [`Folding::loss_window`] may be zero.

mod keys;
mod seal;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use tao_schema::session::{Folding, Session};

pub use self::keys::{CookieKeys, KeyError, MAX_KEYS, MIN_SECRET_BYTES};
use self::seal::{Content, Seal};
use crate::client::Client;
use crate::session::{MAX_STICK, SessionClient, SessionOptions};

/// Characters of `name=value` at most: one KiB.
pub const MAX_COOKIE_CHARS: usize = 1_024;
/// Characters of a cookie's name at most.
pub const MAX_NAME_CHARS: usize = 64;
/// Room for clocks when young positions are folded. Small, because a floor that lies ahead sends all reads up until the
/// heartbeats have passed it; enough, because the time of a reply is not before the commit of what it shows, and a heartbeat
/// of a later time comes after it in the log.
const YOUNG_SLACK: Duration = Duration::from_secs(1);
/// Cookies of one name that are looked at: a browser may send one for each path and domain.
const MAX_SAME_NAME: usize = 4;

/// Reads and writes the cookie. One for each cluster and kind of cookie; shared by all requests.
#[derive(Debug)]
pub struct SessionCookie {
    seal: Seal,
    options: CookieOptions,
}

/// How the cookie looks and what its sessions do.
#[derive(Clone, Debug)]
pub struct CookieOptions {
    /// Its name.
    pub name: String,
    /// Its `Path`.
    pub path: String,
    /// Whether it is `Secure`: sent over TLS only. Off only for trying things on one's own machine.
    pub secure: bool,
    /// Its `Max-Age`: how long the browser keeps it. Longer than any lag between regions that is worth a promise.
    pub max_age: Duration,
    /// When positions may be folded.
    pub folding: Folding,
    /// For how long all reads go to the master region when what was seen is not known: a bad cookie, or one that did not fit.
    /// At most [`MAX_STICK`].
    pub master_for: Duration,
    /// Of the sessions.
    pub session: SessionOptions,
}

/// A session as a cookie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// The value of a `Set-Cookie` header.
    pub set_cookie: String,
    /// What was given up because it did not fit; usually nothing.
    pub fallback: Option<Fallback>,
}

/// What a cookie that was too small gave up. Reads stay fresh in either case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fallback {
    /// Young positions became times as well. These keep reads fresh, unless a primary's clock is set back by more than
    /// a second meanwhile; but if a failover loses what they stood for, reads don't say `LostEpoch`. Reads go to the master region
    /// until this one has applied a heartbeat that is a little younger than the cookie, usually a second or two.
    FoldedYoung,
    /// Positions without a known time, or times of too many host groups, did not fit: all was forgotten, and all reads go to
    /// the master region for [`CookieOptions::master_for`].
    Master,
}

/// Why a cookie was not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CookieError {
    /// It is no cookie of this kind: cut off, or of an unknown version.
    #[error("the session cookie is malformed")]
    Malformed,
    /// It is longer than any that is written here.
    #[error("the session cookie has {chars} characters; at most {MAX_COOKIE_CHARS} with its name")]
    TooLong {
        /// How long.
        chars: usize,
    },
    /// It was signed with a key that is not, or no longer, configured.
    #[error("the session cookie is signed with key {key}, which is not or no longer configured")]
    UnknownKey {
        /// Number of the key.
        key: u8,
    },
    /// It was not signed here, or was changed.
    #[error("the session cookie's signature is wrong")]
    Forged,
    /// It belongs to another cluster.
    #[error("the session cookie is of another cluster")]
    OtherCluster,
}

impl Default for CookieOptions {
    fn default() -> Self {
        Self {
            name: "tao_session".to_owned(),
            path: "/".to_owned(),
            secure: true,
            max_age: Duration::from_secs(86_400),
            folding: Folding::default(),
            master_for: Duration::from_secs(60),
            session: SessionOptions::default(),
        }
    }
}

impl SessionCookie {
    /// The cookie of `cluster`, the name in its topology.
    ///
    /// # Errors
    /// `InvalidArgument` if an option makes no sense.
    pub fn new(cluster: &str, keys: CookieKeys, options: CookieOptions) -> tao_schema::Result<Self> {
        let wrong = |message: &str| Err(tao_schema::Error::invalid(format!("cookie options: {message}")));
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if options.name.is_empty()
            || options.name.len() > MAX_NAME_CHARS
            || !options.name.bytes().all(is_token)
        {
            return wrong("name must be 1 to 64 characters of those that HTTP allows in a token");
        }
        if !options.path.starts_with('/') || options.path.bytes().any(|b| b == b';' || !b.is_ascii_graphic())
        {
            return wrong("path must start with / and have no spaces, semicolons or control characters");
        }
        if options.master_for > MAX_STICK {
            return wrong("master_for is above 600 s");
        }
        options.session.validate()?;
        Ok(Self { seal: Seal::new(cluster, keys), options })
    }

    /// The session of a request: of its cookie, or a new one if it has none. `header`: the value of its `Cookie` header.
    ///
    /// # Errors
    /// A cookie of this name that is not accepted; [`SessionCookie::read_or_master`] says what to do then.
    pub fn read(&self, client: &Client, header: Option<&str>) -> Result<SessionClient, CookieError> {
        let mut first_error = None;
        for value in self.values(header.unwrap_or_default()).take(MAX_SAME_NAME) {
            match self.open(value, SystemTime::now()) {
                Ok(content) => return Ok(self.resume(client, content)),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or_else(|| Ok(self.resume(client, Content::default())), Err)
    }

    /// As [`SessionCookie::read`]; but instead of a cookie that is not accepted, a new session whose reads go to the master
    /// region for [`CookieOptions::master_for`]: what this user has seen is not known, so nothing that may be behind it is
    /// shown. The error is for the log; many of them at once are a missing key, or an attack.
    pub fn read_or_master(
        &self,
        client: &Client,
        header: Option<&str>,
    ) -> (SessionClient, Option<CookieError>) {
        match self.read(client, header) {
            Ok(session) => (session, None),
            Err(error) => {
                let session = self.resume(client, Content::default());
                session.stick_to_master(self.options.master_for);
                (session, Some(error))
            }
        }
    }

    /// The session as a cookie: at most [`MAX_COOKIE_CHARS`] with its name.
    pub fn write(&self, session: &SessionClient) -> Written {
        let now = SystemTime::now();
        let until = session.master_left().and_then(|left| now.checked_add(left));
        let (value, fallback) = self.close(session.seen(), until, now);
        let CookieOptions { name, path, secure, max_age, .. } = &self.options;
        let secure = if *secure { "; Secure" } else { "" };
        let seconds = max_age.as_secs();
        let set_cookie =
            format!("{name}={value}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
        Written { set_cookie, fallback }
    }

    /// What a value says, without a client: for fuzz targets.
    ///
    /// # Errors
    /// As [`SessionCookie::read`].
    #[doc(hidden)]
    pub fn seen(&self, value: &str) -> Result<Session, CookieError> {
        self.open(value, SystemTime::now()).map(|content| content.seen)
    }

    /// The value for a session as it stands, whatever its size: for fuzz targets.
    #[doc(hidden)]
    pub fn value_of(&self, seen: Session) -> String {
        self.seal.close(&Content { seen, master_until: None })
    }

    /// The values of our name in a `Cookie` header.
    fn values<'a>(&self, header: &'a str) -> impl Iterator<Item = &'a str> {
        let pairs = header.split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs.filter(|(name, _)| *name == self.options.name).map(|(_, value)| value.trim_matches('"'))
    }

    fn resume(&self, client: &Client, content: Content) -> SessionClient {
        let session = SessionClient::new(client, content.seen, self.options.session);
        if let Some(left) =
            content.master_until.and_then(|until| until.duration_since(SystemTime::now()).ok())
        {
            session.stick_to_master(left);
        }
        session
    }

    /// Characters that the value may have.
    fn max_value_chars(&self) -> usize {
        MAX_COOKIE_CHARS - self.options.name.len() - 1
    }

    fn open(&self, value: &str, now: SystemTime) -> Result<Content, CookieError> {
        // Before anything is decoded.
        if value.len() > self.max_value_chars() {
            return Err(CookieError::TooLong { chars: value.len() });
        }
        let mut content = self.seal.open(value)?;
        // The signer's clock may be an hour ahead of this one.
        content.master_until = content
            .master_until
            .filter(|until| *until > now)
            .map(|until| now.checked_add(MAX_STICK).map_or(until, |latest| until.min(latest)));
        Ok(content)
    }

    fn close(
        &self,
        mut seen: Session,
        mut master_until: Option<SystemTime>,
        now: SystemTime,
    ) -> (String, Option<Fallback>) {
        let max_bytes = Seal::session_bytes(self.max_value_chars());
        let folding = &self.options.folding;
        let young = Folding { loss_window: Duration::ZERO, slack: folding.slack.min(YOUNG_SLACK) };
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let fallback = if seen.shrink(max_bytes, folding, since_epoch).is_ok() {
            None
        } else if seen.shrink(max_bytes, &young, since_epoch).is_ok() {
            Some(Fallback::FoldedYoung)
        } else {
            seen = Session::new();
            master_until = master_until.max(now.checked_add(self.options.master_for));
            Some(Fallback::Master)
        };
        (self.seal.close(&Content { seen, master_until }), fallback)
    }
}
