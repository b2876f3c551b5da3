//! How a client behaves.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tao_schema::limits::MAX_DEADLINE;
use tao_schema::{Error, Result};

use crate::connection::ConnectionOptions;
use crate::record::Recorder;

/// How a [`crate::Client`] behaves. The defaults suit a service in the same data centre; times nest: `timeout` is at
/// least `attempt_timeout`, and both are above what a node allows itself.
#[derive(Clone, Debug)]
pub struct Options {
    /// Nodes to ask first where everything is, each `host:port`. One that answers is enough.
    pub addresses: Vec<String>,
    /// The region to read in; `None`: that of the seed node that answered.
    pub region: Option<String>,
    /// The follower tier to use as long as it serves; `None`: the first of the region.
    pub tier: Option<String>,
    /// Longest wait for a call, retries included; at most 60 s. A call may set its own.
    pub timeout: Duration,
    /// Longest wait for one attempt of a call with the default `timeout`. A call that may take longer gives its attempts
    /// the same share of its time: under load, giving up early on a node that works adds a second request to the first.
    pub attempt_timeout: Duration,
    /// Attempts of one call, the first included.
    pub attempts: u32,
    /// Retries as a part of the requests: 0.1 is one retry for ten requests.
    pub retry_ratio: f64,
    /// Retries that may come at once before that ratio binds.
    pub retry_burst: u32,
    /// Pause before a second retry (the first goes to another node at once); doubled at each, with jitter.
    pub retry_pause: Duration,
    /// Failures of a node in a row after which it is passed over.
    pub circuit_failures: u32,
    /// How long a node is passed over before one request tries it again; doubled at each failure, up to 16 times.
    pub circuit_pause: Duration,
    /// Longest time between two looks at the topology.
    pub topology_interval: Duration,
    /// Addresses of nodes as this client must call them: the `host:port` of the topology, and the one to dial in its place.
    /// For networks that translate addresses. Seed nodes are dialed as given.
    pub translate: HashMap<String, String>,
    /// Of the connections to each node.
    pub connection: ConnectionOptions,
    /// Is shown every call; `None`: nobody is. For tests that judge what was seen.
    pub recorder: Option<Arc<dyn Recorder>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            region: None,
            tier: None,
            timeout: Duration::from_secs(5),
            attempt_timeout: Duration::from_secs(2),
            attempts: 8,
            retry_ratio: 0.1,
            retry_burst: 100,
            retry_pause: Duration::from_millis(10),
            circuit_failures: 3,
            circuit_pause: Duration::from_millis(500),
            topology_interval: Duration::from_secs(30),
            translate: HashMap::new(),
            connection: ConnectionOptions::default(),
            recorder: None,
        }
    }
}

impl Options {
    /// The defaults with these seed nodes.
    pub fn new<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Self {
        Self { addresses: addresses.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Whether the options make sense together.
    ///
    /// # Errors
    /// `InvalidArgument`; the message names the option.
    pub fn validate(&self) -> Result<()> {
        let wrong = |message: &str| Err(Error::invalid(format!("client options: {message}")));
        if self.addresses.is_empty() {
            return wrong("addresses is empty; name at least one node");
        }
        if self.timeout > MAX_DEADLINE {
            return wrong("timeout is above 60 s: a retry as late as that could not be recognised (R3)");
        }
        if self.attempt_timeout.is_zero() || self.attempt_timeout > self.timeout {
            return wrong("attempt_timeout must be above zero, and not above timeout");
        }
        if self.attempts == 0 || self.circuit_failures == 0 {
            return wrong("attempts and circuit_failures start at 1");
        }
        if !(0.0..=1.0).contains(&self.retry_ratio) {
            return wrong("retry_ratio must be from 0 to 1");
        }
        Ok(())
    }

    /// Where to dial a node of the topology.
    pub(crate) fn dialed<'a>(&'a self, address: &'a str) -> &'a str {
        self.translate.get(address).map_or(address, String::as_str)
    }

    /// Longest wait for one attempt of a call that may take `timeout`.
    pub(crate) fn attempt_within(&self, timeout: Duration) -> Duration {
        // The usual case, without the arithmetic: no share of less time is more than `attempt_timeout`.
        if timeout <= self.timeout {
            return self.attempt_timeout.min(timeout);
        }
        let share = self.attempt_timeout.as_secs_f64() / self.timeout.as_secs_f64();
        self.attempt_timeout.max(timeout.mul_f64(share)).min(timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_have_the_same_share_of_a_longer_call() {
        let options = Options {
            timeout: Duration::from_secs(5),
            attempt_timeout: Duration::from_secs(2),
            ..Options::default()
        };
        for (timeout_ms, attempt_ms) in [(5_000, 2_000), (30_000, 12_000), (3_000, 2_000), (500, 500)] {
            let attempt = options.attempt_within(Duration::from_millis(timeout_ms));
            assert_eq!(attempt, Duration::from_millis(attempt_ms), "of {timeout_ms} ms");
        }
    }
}
