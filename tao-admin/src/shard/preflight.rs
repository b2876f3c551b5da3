//! What must hold before a move begins: asked of every server that takes part, in both directions, because a move may be reversed.

use std::time::Duration;

use serde::Serialize;
use tao_schema::ids::{HostGroupId, ShardId};
use tao_schema::rows::ShardState;
use tao_schema::topology::Dsn;
use tao_shard_store::log::{ServerLog, TailErrorKind};
use tao_shard_store::moves::{Outcome, ShardMover};
use tao_shard_store::replication::ServerAdmin;
use tao_shard_store::store::StoreErrorKind;

use super::error::{Done, MoveError};
use super::ground::{Ground, Server};
use super::rehearsal::executed_by_all;
use super::room::{PlanRoom, judged, needed};
use super::terms::MoveOptions;

/// Rows that are copied in a second, for a first estimate.
const ROWS_PER_SECOND: u64 = 20_000;
/// How long a replica is waited for.
const LOOK_FOR: Duration = Duration::from_secs(3);
/// Bytes of a row, where the server has no estimate.
const BYTES_PER_ROW: u64 = 200;

/// What a move would be.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The shard.
    pub shard: ShardId,
    /// Who serves it.
    pub source: HostGroupId,
    /// Where it would go.
    pub target: HostGroupId,
    /// Its rows, counted.
    pub rows: u64,
    /// Bytes that they take, about, by the source's own estimate.
    pub bytes: u64,
    /// Bytes that each server of the target needs, about: rows, and its own log of them.
    pub needed_bytes: u64,
    /// What room these servers have.
    pub room: Vec<PlanRoom>,
    /// Seconds that the copy takes, about.
    pub eta_s: u64,
    /// What is not as it must be.
    pub findings: Vec<PlanFinding>,
    /// What would be done, in order.
    pub steps: Vec<String>,
}

/// Something that is not as it must be, or should be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PlanFinding {
    /// Whether the move is refused for it.
    pub fatal: bool,
    /// What it is about: privileges, format, schema, keys, retention, replicas, rows, shard, limits, disk.
    pub subject: String,
    /// What is, what must be, and how it becomes so.
    pub message: String,
}

impl Plan {
    /// Whether the move may begin.
    ///
    /// # Errors
    /// What forbids it.
    pub fn accepted(&self) -> Result<(), MoveError> {
        let fatal: Vec<&str> =
            self.findings.iter().filter(|found| found.fatal).map(|found| found.message.as_str()).collect();
        if fatal.is_empty() {
            return Ok(());
        }
        let (shard, target) = (self.shard, self.target);
        Err(MoveError::refused(format!(
            "shard {shard} can't be moved to host group {target}: {}",
            fatal.join("; ")
        )))
    }
}

fn finding(fatal: bool, subject: &str, message: impl Into<String>) -> PlanFinding {
    PlanFinding { fatal, subject: subject.to_owned(), message: message.into() }
}

impl Ground {
    /// Looks at everything that a move of `shard` depends on.
    pub(super) async fn preflight(
        &self,
        shard: ShardId,
        source: HostGroupId,
        target: HostGroupId,
        options: &MoveOptions,
    ) -> Done<Plan> {
        self.check_names(shard, source, target)?;
        let (from, to) = (self.primary(source).await?, self.primary(target).await?);
        let mut findings = Vec::new();
        self.look_at_rows(shard, &from, &to, &mut findings).await?;
        let facts = look_at_servers(&from, &to, &mut findings).await?;
        self.look_at_replicas(&from, &to, options, &mut findings).await?;
        look_at_log(shard, &from, &mut findings).await?;
        self.look_at_limits(&from, &to, options, &mut findings).await;
        let rows = from.store.rows_of_range(shard).await?.total();
        let rate = match options.max_rows_per_second {
            0 => ROWS_PER_SECOND,
            limit => limit.min(ROWS_PER_SECOND),
        };
        let eta_s = rows.div_ceil(rate).max(1);
        let kept = [facts.0, facts.1].into_iter().flatten().min();
        if let Some(kept) = kept.filter(|kept| *kept < Duration::from_secs(2 * eta_s)) {
            let message = format!(
                "a server keeps its log for {} s, and the copy alone takes about {eta_s} s: binlog_expire_logs_seconds must be \
                 at least twice that",
                kept.as_secs()
            );
            findings.push(finding(true, "retention", message));
        }
        let per_row = if facts.2 == 0 { BYTES_PER_ROW } else { facts.2 };
        let bytes = rows * per_row;
        let needed_bytes = needed(bytes);
        let room = self.rooms(&to, options).await;
        findings.extend(room.iter().filter_map(|one| judged(one, needed_bytes)));
        let steps = steps(source, target);
        Ok(Plan { shard, source, target, rows, bytes, needed_bytes, room, eta_s, findings, steps })
    }

    /// Whether shard and groups exist, and are not the same.
    pub(super) fn check_names(
        &self,
        shard: ShardId,
        source: HostGroupId,
        target: HostGroupId,
    ) -> Result<(), MoveError> {
        let topology = self.topology();
        if u32::from(shard.0) >= topology.shards {
            let most = topology.shards - 1;
            return Err(MoveError::usage(format!("no shard {shard}: they are 0 to {most}")));
        }
        self.group(source)?;
        self.group(target)?;
        if source == target {
            return Err(MoveError::usage(format!("shard {shard} is in host group {target} already")));
        }
        Ok(())
    }

    async fn look_at_rows(
        &self,
        shard: ShardId,
        from: &Server,
        to: &Server,
        findings: &mut Vec<PlanFinding>,
    ) -> Done {
        let here = from.store.shard_moves(shard).await?;
        let place = self.topology().assignment(shard);
        match here.row {
            Some(row) if row.state == ShardState::Serving => {
                if place.is_some_and(|place| place.epoch != row.epoch) {
                    let message = format!(
                        "the topology has shard {shard} in another epoch than host group {}, {}: a promotion or a move was \
                         not finished; `tao region status`, `tao shard list`",
                        from.group, row.epoch
                    );
                    findings.push(finding(true, "shard", message));
                }
            }
            row => {
                let state = row.map(|row| row.state);
                let message =
                    format!("shard {shard} is {state:?} in host group {}, must be serving", from.group);
                findings.push(finding(true, "shard", message));
            }
        }
        let there = to.store.shard_moves(shard).await?;
        if let Some(row) =
            there.row.filter(|row| matches!(row.state, ShardState::Serving | ShardState::Fenced))
        {
            let (group, state, epoch) = (to.group, row.state, row.epoch);
            let message = format!(
                "host group {group} has a row of shard {shard}, {state:?} in epoch {epoch}, that no move brought there: find out \
                 whose it is"
            );
            findings.push(finding(true, "shard", message));
        }
        let running = there.moves.iter().chain(&here.moves).find(|record| record.outcome == Outcome::Running);
        if let Some(record) = running {
            let message =
                format!("move {} of shard {shard} is under way: `tao shard status {shard}`", record.move_id);
            findings.push(finding(true, "second move", message));
        }
        let rows = to.store.rows_of_range(shard).await?.total();
        let leftover =
            there.row.is_some_and(|row| matches!(row.state, ShardState::Gone | ShardState::Aborted));
        if rows > 0 && leftover {
            let message =
                format!("{rows} rows that a former move left in host group {} are deleted first", to.group);
            findings.push(finding(false, "rows", message));
        } else if rows > 0 {
            let message = format!(
                "host group {} holds {rows} rows of shard {shard} that no move brought there: find out whose they are, and \
                 delete them",
                to.group
            );
            findings.push(finding(true, "rows", message));
        }
        Ok(())
    }

    /// Limits that nothing would keep, because their inputs can't be looked at.
    async fn look_at_limits(
        &self,
        from: &Server,
        to: &Server,
        options: &MoveOptions,
        findings: &mut Vec<PlanFinding>,
    ) {
        for server in [from, to] {
            if let Err(error) = server.store.history_length().await {
                let message = format!(
                    "{}: max-history is not looked at: {error}; the account needs the privilege PROCESS",
                    server.place()
                );
                findings.push(finding(false, "limits", message));
            }
        }
        if options.max_leader_p99_ms > 0 && self.leaders(options).is_empty() {
            let message = "max-leader-p99 is not looked at: no leader's admin address is known; name them in the topology \
                           (`admin`), or with --leader-admin";
            findings.push(finding(false, "limits", message));
        }
    }

    async fn look_at_replicas(
        &self,
        from: &Server,
        to: &Server,
        options: &MoveOptions,
        findings: &mut Vec<PlanFinding>,
    ) -> Done {
        let topology = self.topology();
        let mut groups = Vec::new();
        for primary in [from, to] {
            let group = self.group(primary.group)?;
            for region in &topology.regions {
                if !group.servers.contains_key(&region.name) && primary.group == to.group {
                    let message = format!(
                        "host group {} has no server in region {}: its leaders could not read the shard there",
                        to.group, region.name
                    );
                    findings.push(finding(true, "replicas", message));
                }
            }
            match self.replicas(primary.group, options).await {
                Ok(replicas) => groups.push((primary.clone(), replicas)),
                Err(halt) => findings.push(finding(true, "replicas", MoveError::from(halt).message)),
            }
        }
        for (primary, replicas) in &groups {
            for replica in replicas {
                let dsn = self.group(primary.group)?.servers.get(&replica.region).cloned();
                let Some(dsn) = dsn else { continue };
                if let Some((fatal, why)) = replicates(&dsn).await {
                    findings.push(finding(fatal, "replicas", format!("{}: {why}", replica.place())));
                }
            }
        }
        let limit = Duration::from_millis(options.max_lag_ms).min(LOOK_FOR);
        for (primary, replicas) in &groups {
            let there = primary.store.executed().await?;
            if let Err(halt) = executed_by_all(replicas, &there, limit).await {
                let why = MoveError::from(halt).message;
                findings.push(finding(false, "replicas", format!("the copy would wait: {why}")));
            }
        }
        Ok(())
    }
}

/// What keeps a replica from following its primary, and whether that forbids a move.
async fn replicates(dsn: &Dsn) -> Option<(bool, String)> {
    let role = async { ServerAdmin::connect(dsn.expose()).await?.role().await };
    let role = match role.await {
        Ok(role) => role,
        Err(error) if error.kind == StoreErrorKind::Unavailable => return Some((true, error.message)),
        // The account may not ask. The heartbeats tell it, too.
        Err(error) => return Some((false, format!("whether it follows can't be asked: {error}"))),
    };
    match role.following {
        None => Some((true, "it follows nobody: `tao region status`".to_owned())),
        Some(now) if !now.applier_on || !now.connected => {
            let why = now.error.unwrap_or_else(|| "it was stopped".to_owned());
            Some((true, format!("replication stands still: {why}: `tao region status`")))
        }
        Some(_) => None,
    }
}

/// Format, privileges, schema, keys of both primaries. Answers how long each keeps its log, and bytes of a row.
async fn look_at_servers(
    from: &Server,
    to: &Server,
    findings: &mut Vec<PlanFinding>,
) -> Done<(Option<Duration>, Option<Duration>, u64)> {
    let mut looked = Vec::new();
    for server in [from, to] {
        let found = server.store.move_preflight().await?;
        for one in &found.findings {
            findings.push(finding(one.fatal, &one.subject, format!("{}: {}", server.place(), one.message)));
        }
        looked.push((found.schema, server.store.server_facts().await?));
    }
    let [(schema, facts), (other, theirs)] = &looked[..] else { return Ok((None, None, 0)) };
    if schema != other {
        findings.push(finding(true, "schema", format!("the schema versions differ: {schema} and {other}")));
    }
    let differs = facts.columns.iter().zip(&theirs.columns).find(|(here, there)| here != there);
    if let Some((here, there)) = differs {
        let message =
            format!("the tables differ: \"{here}\" in {}, \"{there}\" in {}", from.place(), to.place());
        findings.push(finding(true, "schema", message));
    } else if facts.columns.len() != theirs.columns.len() {
        let message =
            format!("the tables of {} and {} have other numbers of columns", from.place(), to.place());
        findings.push(finding(true, "schema", message));
    }
    Ok((facts.log_kept, theirs.log_kept, facts.bytes_per_row))
}

/// Whether the source's log can be followed from now on, with this account.
async fn look_at_log(shard: ShardId, from: &Server, findings: &mut Vec<PlanFinding>) -> Done {
    let executed = from.store.executed().await?;
    match from.store.raw_tail(shard, executed).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind == TailErrorKind::Disconnected => Err(error.into()),
        Err(error) => {
            findings.push(finding(
                true,
                "log",
                format!("{}: its log can't be followed: {error}", from.place()),
            ));
            Ok(())
        }
    }
}

fn steps(source: HostGroupId, target: HostGroupId) -> Vec<String> {
    vec![
        format!("copy all rows to host group {target}, in chunks, while host group {source} serves"),
        "follow the log, compare every row, rehearse".to_owned(),
        format!(
            "cut over: fence in host group {source}, drain, commit in host group {target}; writes wait meanwhile"
        ),
        format!("host group {source} follows, so that the move can be reversed, until it is finalized"),
    ]
}
