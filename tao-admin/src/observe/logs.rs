//! Following the logs of the primaries: a task for each host group, which goes on at another server after a promotion.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tao_schema::ids::HostGroupId;
use tao_schema::topology::Topology;
use tao_shard_store::log::{
    BeatWriter, LogPosition, LogTail, SharedDatabase, Survey, TailError, TailErrorKind, TailEvent, TailStart,
};
use tao_shard_store::store::{ReadKey, StoreError, StoreErrorKind};
use tokio::sync::{mpsc, watch};

use super::item::ItemKey;
use super::observer::Proof;
use crate::commands::UsageError;
use crate::servers::{self, Server};

/// Pause before a log that was lost is opened again.
const PAUSE: Duration = Duration::from_secs(1);
/// A sampled change that the primary does not show for so long is given up: a promotion lost it, or nobody acknowledges
/// it (H8).
const SHOWN_WITHIN: Duration = Duration::from_secs(10);
/// First and longest pause between two looks for it.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// What a log's task tells.
pub enum News {
    /// The log is open.
    Opened {
        /// Whose.
        group: HostGroupId,
        /// The primary.
        database: SharedDatabase,
        /// Its shard rows and epochs, read after the log was opened.
        survey: Survey,
        /// Not where it ended before.
        anew: bool,
    },
    /// It brought something.
    Events {
        /// Whose.
        group: HostGroupId,
        /// What.
        events: Vec<TailEvent>,
    },
    /// It can't be followed now; it is tried again.
    Lost {
        /// Whose.
        group: HostGroupId,
        /// Why.
        error: String,
    },
}

/// Region of the primary, by host group.
pub type Masters = BTreeMap<HostGroupId, String>;

/// Where the primaries are by a topology.
pub fn masters(topology: &Topology) -> Masters {
    topology.host_groups.iter().map(|group| (group.id, group.master.clone())).collect()
}

/// One host group's log.
pub struct Log {
    group: HostGroupId,
    servers: Arc<[Server]>,
    masters: watch::Receiver<Masters>,
    news: mpsc::Sender<News>,
    /// Everything up to here was told.
    position: Option<LogPosition>,
}

/// An open log.
struct Open {
    region: String,
    tail: Box<dyn LogTail>,
}

/// The server of a host group in a region.
///
/// # Errors
/// Nobody said how to log in there.
pub fn server<'a>(servers: &'a [Server], group: HostGroupId, region: &str) -> Result<&'a Server> {
    let found = servers.iter().find(|server| server.group == u32::from(group.0) && server.region == region);
    found.ok_or_else(|| {
        let message = format!(
            "no DSN of the primary of host group {group}, in region {region}: name a topology file with DSNs, \
             --topology FILE (`tao topology show --secrets` prints the one in force)"
        );
        UsageError(message).into()
    })
}

impl Log {
    /// Opens the log for the first time.
    ///
    /// # Errors
    /// It can't be opened; the error says what to do.
    pub async fn open(
        group: HostGroupId,
        servers: Arc<[Server]>,
        masters: watch::Receiver<Masters>,
        news: mpsc::Sender<News>,
    ) -> Result<impl Future<Output = ()> + Send> {
        let mut log = Self { group, servers, masters, news, position: None };
        let open = log.reopen().await?;
        Ok(log.follow(open))
    }

    async fn follow(mut self, first: Open) {
        let mut open = Some(first);
        loop {
            let ended = match open.take() {
                Some(open) => self.read(open).await,
                None => match self.reopen().await {
                    Ok(reopened) => {
                        open = Some(reopened);
                        continue;
                    }
                    Err(error) => format!("{error:#}"),
                },
            };
            if self.news.send(News::Lost { group: self.group, error: ended }).await.is_err() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                moved = self.masters.changed() => if moved.is_err() { return },
            }
        }
    }

    /// Opens the log where it was left, at whatever server is the primary now.
    async fn reopen(&mut self) -> Result<Open> {
        let region = self.masters.borrow_and_update().get(&self.group).cloned().unwrap_or_default();
        let server = server(&self.servers, self.group, &region)?;
        let database = servers::open(&server.dsn).await.map_err(|error| explained(server, error))?;
        let resumed = match self.position.take() {
            None => None,
            Some(position) => match database.open_tail(TailStart::After(position.clone())).await {
                Ok(tail) => Some(tail),
                // Another history, or purged: what was watched there is given up.
                Err(error) if error.kind == TailErrorKind::PositionLost => None,
                Err(error) => {
                    self.position = Some(position);
                    return Err(refused(server, error));
                }
            },
        };
        let anew = resumed.is_none();
        let tail = match resumed {
            Some(tail) => tail,
            None => {
                let newest = TailStart::Back(Duration::ZERO);
                database.open_tail(newest).await.map_err(|error| refused(server, error))?
            }
        };
        // After the log was opened: whatever was committed before this is not new when the log brings it.
        let survey = database.survey(BeatWriter::of("tao observe")).await;
        let survey = survey.map_err(|error| explained(server, error))?;
        self.position = Some(tail.position());
        let opened = News::Opened { group: self.group, database, survey, anew };
        // Nobody listens only when the observation ends.
        let _ended = self.news.send(opened).await;
        Ok(Open { region, tail })
    }

    /// Tells what the log brings until it ends, or until the primary is elsewhere; answers why.
    async fn read(&mut self, open: Open) -> String {
        let Open { region, mut tail } = open;
        loop {
            let events = tokio::select! {
                events = tail.next() => events,
                moved = self.masters.changed() => {
                    let now = self.masters.borrow().get(&self.group).cloned();
                    match now {
                        Some(now) if moved.is_ok() && now == region => continue,
                        Some(now) => return format!("the primary is in {now} now"),
                        None => return "the host group is gone from the topology".to_owned(),
                    }
                }
            };
            self.position = Some(tail.position());
            match events {
                Ok(events) => {
                    // A full channel slows this reader down; the server keeps its log, and heartbeats tell that it is
                    // behind.
                    if self.news.send(News::Events { group: self.group, events }).await.is_err() {
                        return "the observation ended".to_owned();
                    }
                }
                Err(error) => {
                    if error.kind != TailErrorKind::Disconnected {
                        // Going on behind it would be to have missed something.
                        self.position = None;
                    }
                    return error.message;
                }
            }
        }
    }
}

/// Waits until the primary shows a change, or something later.
///
/// # Errors
/// It does not within the limit, or can't be asked.
pub async fn shown(database: &SharedDatabase, proof: &Proof) -> Result<(), StoreError> {
    let key = match proof.key {
        ItemKey::Object(id) => ReadKey::Object(id),
        ItemKey::List(key) => ReadKey::List { key, edges: 0 },
    };
    let wanted = proof.position;
    let look = async {
        let mut pause = LOOK_AGAIN.0;
        loop {
            let found = database.read(&[key]).await?;
            let reached = |at: tao_schema::ids::Position| (at.epoch, at.seq) >= (wanted.epoch, wanted.seq);
            if found.iter().flatten().any(|snapshot| reached(snapshot.position)) {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK_AGAIN.1);
        }
    };
    tokio::time::timeout(SHOWN_WITHIN, look).await.unwrap_or_else(|_| {
        let message = format!("{wanted} is in the log, and the tables do not show it");
        Err(StoreError::new(StoreErrorKind::Unavailable, message))
    })
}

fn explained(server: &Server, error: StoreError) -> anyhow::Error {
    let place = format!("primary of host group {} in {}", server.group, server.region);
    anyhow::Error::from(error).context(place)
}

/// With the next step, where it is known.
fn refused(server: &Server, error: TailError) -> anyhow::Error {
    let step = match error.kind {
        TailErrorKind::Disconnected if error.message.contains("REPLICATION SLAVE") => {
            "; grant it: GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO the account of the DSN (MariaDB: BINLOG \
             MONITOR, too), or name a topology file with an account that has it, --topology FILE"
        }
        TailErrorKind::NotUnderstood => "; `tao doctor` says what to set",
        TailErrorKind::Disconnected | TailErrorKind::PositionLost => "",
    };
    let place = format!("log of host group {} in {}", server.group, server.region);
    anyhow::anyhow!("{place}: {error}{step}")
}
