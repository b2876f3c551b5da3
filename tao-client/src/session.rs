//! Sessions: a user reads his own writes, and never sees older data than before.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;
use tao_schema::Result;
use tao_schema::session::Session;

use crate::client::Client;

/// A client that remembers what its user has seen: the same calls as [`Client`], but every reply's positions are noted,
/// and every read asks for at least those of its shard (R19). So the user reads his own writes and never goes back,
/// also when another node answers. Clones share what was seen.
///
/// ```
/// # tao_client::testing::run(async |client: tao_client::Client| {
/// let session = client.session();
/// let ann = session.object_add("user").set("name", "Ann").send().await?.id;
/// // Hand it to the next request of the same user, for example in a cookie.
/// let cookie = session.export();
///
/// let session = client.resume_session(&cookie)?;
/// assert!(session.object_get(ann).send().await?.is_some(), "his own write is there, on any node");
/// # Ok(())
/// # });
/// ```
#[derive(Clone)]
pub struct SessionClient {
    client: Client,
    tokens: Arc<Mutex<Session>>,
}

impl Client {
    /// A new session: it has seen nothing yet.
    pub fn session(&self) -> SessionClient {
        SessionClient::new(self, Session::new())
    }

    /// Goes on with a session that [`SessionClient::export`] wrote.
    ///
    /// # Errors
    /// `InvalidArgument` if the text is no session.
    pub fn resume_session(&self, text: &str) -> Result<SessionClient> {
        Ok(SessionClient::new(self, text.parse()?))
    }
}

impl SessionClient {
    fn new(client: &Client, seen: Session) -> Self {
        let tokens = Arc::new(Mutex::new(seen));
        let mut client = client.clone();
        client.tokens = Some(tokens.clone());
        Self { client, tokens }
    }

    /// What the user has seen, as text: see [`tao_schema::session::Session`] for the form.
    pub fn export(&self) -> String {
        self.tokens.lock().to_string()
    }

    /// Notes what another session has seen: of the same user on another device, or of whom he talks to.
    pub fn merge(&self, other: &Session) {
        self.tokens.lock().merge(other);
    }

    /// What the user has seen.
    pub fn seen(&self) -> Session {
        self.tokens.lock().clone()
    }
}

impl Deref for SessionClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl fmt::Debug for SessionClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionClient").field("seen", &*self.tokens.lock()).finish()
    }
}
