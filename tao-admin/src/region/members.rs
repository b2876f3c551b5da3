//! The servers of a host group, asked who they are.

use anyhow::{Context, Result, anyhow};
use futures_util::future::join_all;
use tao_schema::topology::{Dsn, HostGroup, ReplicationMode};
use tao_shard_store::StoreError;
use tao_shard_store::log::LogPosition;
use tao_shard_store::replication::{Role, ServerAdmin, Side, SourceAddress};

use super::{Limits, Through};

/// A server of a group.
pub(super) struct Member {
    pub(super) region: String,
    pub(super) dsn: Dsn,
    pub(super) admin: ServerAdmin,
    pub(super) role: Result<Role, StoreError>,
}

/// A group's servers.
pub(super) struct Group<'a> {
    pub(super) definition: &'a HostGroup,
    pub(super) members: Vec<Member>,
}

impl<'a> Group<'a> {
    /// Asks all servers at once.
    pub(super) async fn ask(definition: &'a HostGroup, limits: &Limits) -> Result<Self> {
        let ask = definition.servers.iter().map(|(region, dsn)| async move {
            let admin = ServerAdmin::new(dsn.expose(), limits.connect)?;
            let role = admin.role().await;
            anyhow::Ok(Member { region: region.clone(), dsn: dsn.clone(), admin, role })
        });
        let members = join_all(ask).await.into_iter().collect::<Result<_>>();
        let members = members.with_context(|| format!("host group {}", definition.id))?;
        Ok(Self { definition, members })
    }

    /// The server in a region.
    pub(super) fn member(&self, region: &str) -> Result<&Member> {
        self.members
            .iter()
            .find(|member| member.region == region)
            .ok_or_else(|| anyhow!("host group {} has no server in region {region:?}", self.definition.id))
    }

    /// The primary that the topology names.
    pub(super) fn primary(&self) -> Result<&Member> {
        self.member(&self.definition.master)
    }
}

impl Member {
    /// Who it is.
    ///
    /// # Errors
    /// It did not answer.
    pub(super) fn role(&self) -> Result<&Role> {
        self.role.as_ref().map_err(|error| anyhow!("region {}: {error}", self.region))
    }

    pub(super) fn reachable(&self) -> bool {
        self.role.is_ok()
    }
}

/// What became of a server that was to follow.
pub(super) enum Attached {
    /// It follows.
    Following,
    /// It has transactions that the primary lacks (H22), and is left out.
    Diverged(LogPosition),
}

/// Makes `member` a replica of `primary`, unless it has what that one lacks. It is shut before in any case.
pub(super) async fn attach(
    group: &HostGroup,
    member: &Member,
    primary: &Member,
    mode: ReplicationMode,
    (limits, through): (&Limits, &Through<'_>),
) -> Result<Attached> {
    // In this order: what the primary has is read after what the other has.
    let has = member.admin.set_read_only(true).await?;
    let extra = has.without(&primary.admin.executed().await?);
    if !extra.is_empty() {
        // Whatever it follows, it can't follow it rightly.
        member.admin.stop_replication(false, limits.catch_up).await?;
        return Ok(Attached::Diverged(extra));
    }
    member.admin.set_mode(mode, Side::Replica).await?;
    let source = SourceAddress::of(primary.dsn.expose())?;
    let source = match through(group.id, &member.region) {
        Some((host, port)) => source.through(host, port),
        None => source,
    };
    member.admin.replicate_from(&source).await?;
    member.admin.wait_connected(limits.catch_up).await?;
    Ok(Attached::Following)
}
