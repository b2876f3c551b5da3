//! `tao region status`: what each database server is, beside what the topology says.

use anyhow::Result;
use futures_util::future::join_all;
use serde::Serialize;
use tao_schema::ids::HostGroupId;
use tao_schema::topology::Topology;
use tao_shard_store::log::LogPosition;

use super::Limits;
use super::members::{Group, Member};
use super::newest::newest;

/// A server.
#[derive(Clone, Debug, Serialize)]
pub struct ServerState {
    /// Its host group.
    pub host_group: HostGroupId,
    /// Its region.
    pub region: String,
    /// What the topology says that it is.
    pub role: &'static str,
    /// Whether what it is agrees with that; a short reason if not.
    pub state: String,
    /// Whom it follows.
    pub follows: Option<String>,
    /// Transactions of the primary that it lacks; `None`: one of the two does not answer.
    pub missing: Option<u64>,
    /// Transactions that the primary lacks.
    pub extra: Option<String>,
}

/// All servers of the newest topology, with its version. `file` says where the servers are.
///
/// # Errors
/// No server of the first host group answers.
pub async fn status(file: Topology, limits: &Limits) -> Result<(u64, Vec<ServerState>)> {
    let topology = newest(file, limits).await?;
    let groups = topology.host_groups.iter().map(|group| Group::ask(group, limits));
    let mut states = Vec::new();
    for group in join_all(groups).await {
        let group = group?;
        let primary = group.primary()?;
        for member in &group.members {
            // What a replica has is read before what the primary has: else it might seem to be ahead.
            let has = member.admin.executed().await.ok();
            let all = primary.admin.executed().await.ok();
            states.push(state(&group, member, primary.region == member.region, (has, all)));
        }
    }
    Ok((topology.version, states))
}

fn state(
    group: &Group<'_>,
    member: &Member,
    is_primary: bool,
    (has, all): (Option<LogPosition>, Option<LogPosition>),
) -> ServerState {
    let both = has.as_ref().zip(all.as_ref());
    let missing = both.map(|(has, all)| all.without(has).len());
    let extra = both.map(|(has, all)| has.without(all)).filter(|extra| !extra.is_empty());
    let following = member.role.as_ref().ok().and_then(|role| role.following.as_ref());
    let state = match (&member.role, following) {
        (Err(error), _) => format!("down: {error}"),
        _ if extra.is_some() => "diverged: `tao region rejoin` lists what only it has".to_owned(),
        (Ok(_), Some(following)) if is_primary => format!("follows {}: no primary", following.source),
        (Ok(role), None) if is_primary && role.read_only => {
            "read-only: `tao region rejoin` opens it".to_owned()
        }
        (Ok(_), None) if is_primary => "ok".to_owned(),
        (Ok(role), _) if !role.read_only => "takes writes, which a replica must not".to_owned(),
        (Ok(_), None) => "follows nobody: `tao region rejoin`".to_owned(),
        (Ok(_), Some(following)) if following.connected && following.applier_on => "ok".to_owned(),
        (Ok(_), Some(following)) => following.error.clone().unwrap_or_else(|| "stopped".to_owned()),
    };
    ServerState {
        host_group: group.definition.id,
        region: member.region.clone(),
        role: if is_primary { "primary" } else { "replica" },
        state,
        follows: following.map(|following| following.source.clone()),
        missing,
        extra: extra.map(|extra| extra.to_string()),
    }
}
