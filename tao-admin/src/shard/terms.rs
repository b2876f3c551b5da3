//! What is written down of a move: what operators want, and what the worker says.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tao_schema::ids::HostGroupId;

use super::error::MoveError;

/// How far a move is to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Goal {
    /// Up to READY: the cutover waits for an order.
    Ready,
    /// The target serves, the way back stays open.
    There,
    /// The host group that served in the beginning serves again, the other follows it.
    Back,
    /// Given up, as long as the target never served.
    Aborted,
}

/// A server that is not waited for: its operator vouches that it will not be promoted before it is built anew.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Without {
    /// Its host group.
    pub host_group: HostGroupId,
    /// Its region.
    pub region: String,
}

/// What may be set about a move, also while it runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MoveOptions {
    /// Writes wait at most for so long; a cutover that would take longer is not begun, one that does is taken back. Milliseconds.
    pub max_pause_ms: u64,
    /// The copy waits while a replica of either host group, in any region, is further behind. Milliseconds.
    pub max_lag_ms: u64,
    /// The copy waits while either primary executes more threads.
    pub max_threads: u64,
    /// The copy waits while the history list of either primary is longer.
    pub max_history: u64,
    /// The copy waits while a leader's p99 of transactions, lane waits or database reads is longer; 0: not looked at.
    /// Milliseconds.
    pub max_leader_p99_ms: u64,
    /// Admin addresses of leaders, `host:port`, beside those that the topology names.
    pub leader_admin: Vec<String>,
    /// Bytes that are free on each server of the target, as an operator states it; 0: found out, where that can be done.
    pub target_room: u64,
    /// The time that one import should take; the size of chunks follows it. Milliseconds.
    pub chunk_ms: u64,
    /// Rows of a chunk at most.
    pub max_chunk_rows: u64,
    /// Rows copied in a second at most; 0: no limit.
    pub max_rows_per_second: u64,
    /// Cutovers that are tried in a row.
    pub cutovers: u32,
    /// A comparison that is older than this is done again before a cutover. Seconds.
    pub verified_within_s: u64,
    /// Time between the order to finalize and the deletion of rows. Seconds.
    pub grace_s: u64,
    /// Rows that one transaction deletes.
    pub delete_rows: u64,
    /// Servers that are not waited for.
    pub without: Vec<Without>,
}

impl Default for MoveOptions {
    fn default() -> Self {
        Self {
            max_pause_ms: 2_000,
            max_lag_ms: 2_000,
            max_threads: 64,
            max_history: 1_000_000,
            max_leader_p99_ms: 500,
            leader_admin: Vec::new(),
            target_room: 0,
            chunk_ms: 100,
            max_chunk_rows: 5_000,
            max_rows_per_second: 0,
            cutovers: 5,
            verified_within_s: 600,
            grace_s: 10,
            delete_rows: 1_000,
            without: Vec::new(),
        }
    }
}

impl MoveOptions {
    /// Whether the values make sense.
    ///
    /// # Errors
    /// Names the first that does not, and its limits.
    pub fn check(&self) -> Result<(), MoveError> {
        let bounds = [
            ("max-pause", self.max_pause_ms, 10, 60_000, "ms"),
            ("max-lag", self.max_lag_ms, 100, 3_600_000, "ms"),
            ("max-threads", self.max_threads, 1, 100_000, "threads"),
            ("max-history", self.max_history, 1_000, u64::MAX, "undo records"),
            ("max-leader-p99", self.max_leader_p99_ms, 0, 3_600_000, "ms"),
            ("chunk-time", self.chunk_ms, 5, 5_000, "ms"),
            ("max-chunk-rows", self.max_chunk_rows, 1, 9_000, "rows"),
            ("max-rows-per-second", self.max_rows_per_second, 0, u64::MAX, "rows"),
            ("cutovers", u64::from(self.cutovers), 1, 1_000, "times"),
            ("verified-within", self.verified_within_s, 1, 86_400, "s"),
            ("grace", self.grace_s, 0, 30 * 86_400, "s"),
            ("delete-rows", self.delete_rows, 1, 10_000, "rows"),
        ];
        match bounds.iter().find(|(_, value, low, high, _)| value < low || value > high) {
            None => {}
            Some((name, value, low, high, unit)) => {
                return Err(MoveError::usage(format!("{name} is {value} {unit}: from {low} to {high}")));
            }
        }
        let port =
            |address: &String| address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        match self.leader_admin.iter().find(|address| !port(address)) {
            None => Ok(()),
            Some(wrong) => Err(MoveError::usage(format!("leader-admin is {wrong:?}: must be HOST:PORT"))),
        }
    }

    /// See `max_pause_ms`.
    pub fn max_pause(&self) -> Duration {
        Duration::from_millis(self.max_pause_ms)
    }

    /// Whether a server is to be waited for.
    pub fn counts(&self, group: HostGroupId, region: &str) -> bool {
        !self.without.iter().any(|one| one.host_group == group && one.region == region)
    }
}

/// What operators want of a move.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Orders {
    /// How far it is to go.
    pub goal: Goal,
    /// And then whoever does not serve is to give up its rows.
    pub finalize: bool,
    /// Even though the stream back is broken.
    pub force: bool,
    /// Nothing is done for now.
    pub paused: bool,
    /// A comparison that is older does not count. Milliseconds since the Unix epoch, by the clock of the server that keeps the
    /// book.
    #[serde(default)]
    pub verify_after: u64,
    /// See [`MoveOptions`].
    pub options: MoveOptions,
}

impl Orders {
    /// Go there, with the way back open.
    pub fn there(options: MoveOptions) -> Self {
        Self { goal: Goal::There, finalize: false, force: false, paused: false, verify_after: 0, options }
    }
}

/// Where the time of a cutover went, in milliseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PauseParts {
    /// Until the source was fenced.
    pub fence: f64,
    /// Until all replicas of the source had the fence, and the target everything up to it.
    pub drain: f64,
    /// Until the target served.
    pub commit: f64,
    /// Until its replicas had that.
    pub replicated: f64,
    /// Until the topology said so.
    pub release: f64,
}

/// What a worker says of a move: nothing here decides anything.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Notes {
    /// Rows of the shard when it was counted, before the copy.
    pub rows_total: u64,
    /// Rows copied; those that the log brought are not counted.
    pub rows_copied: u64,
    /// Bytes of those, about.
    pub bytes_copied: u64,
    /// Transactions of the source that were applied.
    pub transactions: u64,
    /// Time spent copying, throttled or not. Milliseconds.
    pub copy_ms: u64,
    /// Rows compared, the last time.
    pub rows_compared: u64,
    /// Of those, rows that were different; a few of them by name.
    pub rows_different: u64,
    /// See `rows_different`.
    pub differences: Vec<String>,
    /// When they were found equal, by the clock of the server that keeps the book. Milliseconds since the Unix epoch.
    pub verified_at: Option<u64>,
    /// How long writes would wait, by the longest of the last three rehearsals. Milliseconds.
    pub predicted_ms: Option<f64>,
    /// How long they did, at the last cutover that committed, as the worker saw it: from before the fence until the topology was
    /// stored.
    pub pause_ms: Option<f64>,
    /// Where that time went.
    pub pause: PauseParts,
    /// Cutovers begun, and of those taken back.
    pub cutovers: u32,
    /// See `cutovers`.
    pub rollbacks: u32,
    /// Times that the copy began anew.
    pub recopies: u32,
    /// Rows deleted of the side that no longer serves.
    pub rows_deleted: u64,
    /// When that side was retired. Milliseconds since the Unix epoch.
    pub retired_at: Option<u64>,
    /// Why the stream back can't be used.
    pub reverse_broken: Option<String>,
    /// The last thing that went wrong.
    pub error: Option<String>,
    /// What the copy waits for, and since when (milliseconds since the Unix epoch).
    pub throttled: Option<(String, u64)>,
    /// For how long the copy waited, by the option whose limit it waited for. Milliseconds.
    pub throttled_ms: BTreeMap<String, u64>,
}
