//! The secrets that sign cookies.

use std::fmt;
use std::io::Read;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::hmac;

/// Secrets shorter than this are refused.
pub const MIN_SECRET_BYTES: usize = 32;
/// Keys at a time.
pub const MAX_KEYS: usize = 16;
/// Longest text of keys.
const MAX_TEXT_BYTES: u64 = 16 << 10;

/// Keys with their numbers. The first one signs; all verify.
///
/// To change keys without a moment at which a web server meets a cookie that it can't verify: add the new key behind the old
/// one everywhere, then move it to the front everywhere, then remove the old one when its cookies have gone out of use.
#[derive(Clone)]
pub struct CookieKeys {
    keys: Vec<(u8, hmac::Key)>,
}

/// Why keys were not accepted. Never shows a secret.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A secret is too short.
    #[error("cookie key {id}: the secret has {bytes} bytes; at least {MIN_SECRET_BYTES}")]
    TooShort {
        /// Number of the key.
        id: u8,
        /// Its length.
        bytes: usize,
    },
    /// A number is there twice.
    #[error("cookie key {id} is there twice")]
    Twice {
        /// Number of the key.
        id: u8,
    },
    /// None at all, or more than [`MAX_KEYS`].
    #[error("{count} cookie keys; from 1 to {MAX_KEYS}")]
    Count {
        /// How many.
        count: usize,
    },
    /// Not in the form of [`CookieKeys::parse`].
    #[error("cookie key at place {place}: must be NUMBER:SECRET, a number from 0 to 255 and base64")]
    Form {
        /// Which, from 1.
        place: usize,
    },
    /// The text is too long.
    #[error("the cookie keys take more than 16 KiB")]
    TooLong,
    /// The environment has no such variable.
    #[error("environment variable {0} with the cookie keys is not set, or no text")]
    NoVariable(String),
    /// The file can't be read.
    #[error("file of the cookie keys: {0}")]
    File(#[from] std::io::Error),
    /// Others than its owner may use the file.
    #[error("file of the cookie keys: its mode is {mode:o}; must be 600 or less: it holds secrets")]
    Mode {
        /// Its permission bits.
        mode: u32,
    },
}

impl CookieKeys {
    /// One key. `id` is its number: another secret takes another number.
    ///
    /// # Errors
    /// The secret is too short.
    pub fn new(id: u8, secret: &[u8]) -> Result<Self, KeyError> {
        Self { keys: Vec::new() }.and(id, secret)
    }

    /// Adds a key that verifies.
    ///
    /// # Errors
    /// The secret is too short, or the number is there.
    pub fn and(mut self, id: u8, secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(KeyError::TooShort { id, bytes: secret.len() });
        }
        if self.verifying(id).is_some() {
            return Err(KeyError::Twice { id });
        }
        if self.keys.len() == MAX_KEYS {
            return Err(KeyError::Count { count: MAX_KEYS + 1 });
        }
        self.keys.push((id, hmac::Key::new(hmac::HMAC_SHA256, secret)));
        Ok(self)
    }

    /// Keys as text: `NUMBER:SECRET`, the secret in base64 (`openssl rand -base64 32`), separated by commas or white space. The
    /// first one signs.
    ///
    /// # Errors
    /// Another form, a secret that is too short, a number twice.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if text.len() as u64 > MAX_TEXT_BYTES {
            return Err(KeyError::TooLong);
        }
        let parts = text.split([',', ' ', '\t', '\r', '\n']).filter(|part| !part.is_empty());
        let mut keys = Self { keys: Vec::new() };
        for (at, part) in parts.enumerate() {
            let wrong = || KeyError::Form { place: at + 1 };
            let (id, secret) = part.split_once(':').ok_or_else(wrong)?;
            let id = id.parse().map_err(|_| wrong())?;
            keys = keys.and(id, &BASE64.decode(secret).map_err(|_| wrong())?)?;
        }
        if keys.keys.is_empty() { Err(KeyError::Count { count: 0 }) } else { Ok(keys) }
    }

    /// Keys from an environment variable, in the form of [`CookieKeys::parse`].
    ///
    /// # Errors
    /// The variable is not set, or as there.
    pub fn from_env(variable: &str) -> Result<Self, KeyError> {
        let text = std::env::var(variable).map_err(|_| KeyError::NoVariable(variable.to_owned()))?;
        Self::parse(&text)
    }

    /// Keys from a file that only its owner may use, in the form of [`CookieKeys::parse`].
    ///
    /// # Errors
    /// The file can't be read or is open to others, or as there.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let file = std::fs::File::open(path)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = file.metadata()?.permissions().mode() & 0o777;
            if mode & 0o177 != 0 {
                return Err(KeyError::Mode { mode });
            }
        }
        let mut text = String::new();
        file.take(MAX_TEXT_BYTES + 1).read_to_string(&mut text)?;
        Self::parse(&text)
    }

    pub(super) fn signing(&self) -> (u8, &hmac::Key) {
        let (id, key) = self.keys.first().expect("keys are made with at least one");
        (*id, key)
    }

    pub(super) fn verifying(&self, id: u8) -> Option<&hmac::Key> {
        self.keys.iter().find(|(known, _)| *known == id).map(|(_, key)| key)
    }
}

impl fmt::Debug for CookieKeys {
    /// The numbers only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(id, _)| id)).finish()
    }
}

impl From<KeyError> for tao_schema::Error {
    fn from(error: KeyError) -> Self {
        Self::invalid(error.to_string())
    }
}
