//! `tao region rejoin`: a region's servers come back as what the topology says they are.
//!
//! A server starts read-only, whatever it was before. If it has transactions that its primary lacks, a failover lost them:
//! they are listed, and the server stays out until it is rebuilt, because its log is another history (H22).

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tao_schema::ids::HostGroupId;
use tao_schema::topology::{ReplicationMode, Topology};
use tao_shard_store::replication::Side;

use super::loss::{self, Loss};
use super::members::{Attached, Group, Member, attach};
use super::newest::{newest, store};
use super::promote::selected;
use super::{Limits, Report, Step, Through};

/// What to bring back.
pub struct RejoinOptions<'a> {
    /// The region.
    pub region: &'a str,
    /// Which host groups; empty: all.
    pub groups: &'a [HostGroupId],
    /// Puts the groups into the mode `lossless` when their servers in the region follow.
    pub lossless: bool,
    /// How long things may take.
    pub limits: Limits,
    /// See [`Through`].
    pub through: &'a Through<'a>,
}

/// What was found and done.
#[derive(Clone, Debug, Serialize)]
pub struct Rejoined {
    /// The host group.
    pub host_group: HostGroupId,
    /// What its server in the region is now.
    pub state: RejoinState,
    /// What only that server has.
    pub loss: Option<Loss>,
}

/// What a server is after it was to come back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RejoinState {
    /// The primary, open.
    Primary,
    /// A replica of the primary.
    Follows,
    /// Out, until it is rebuilt.
    Out,
}

/// Brings the servers of a region back. `file` says where the servers are; the newest topology that they hold counts.
///
/// # Errors
/// A server or its primary does not answer or refuses; or a primary lacks what a replica has.
pub async fn rejoin(
    file: Topology,
    options: &RejoinOptions<'_>,
    report: &Report<'_>,
) -> Result<Vec<Rejoined>> {
    let mut topology = newest(file, &options.limits).await?;
    let mut result = Vec::new();
    for definition in selected(&topology, options.groups)? {
        let context = || format!("host group {}", definition.id);
        let group = Group::ask(definition, &options.limits).await?;
        let member = group.member(options.region)?;
        member.role().with_context(context)?;
        let one = if definition.master == options.region {
            open(&group, member, report).await
        } else {
            bring_back(&group, member, options, report).await
        };
        result.push(one.with_context(context)?);
    }
    if options.lossless {
        let follows = result.iter().filter(|one| one.state == RejoinState::Follows).map(|one| one.host_group);
        let follows: Vec<HostGroupId> = follows.collect();
        make_lossless(&mut topology, &follows, options, report).await?;
    }
    Ok(result)
}

/// The primary comes back before anybody took over: it is opened, if it has everything that its replicas have.
async fn open(group: &Group<'_>, primary: &Member, report: &Report<'_>) -> Result<Rejoined> {
    let id = group.definition.id;
    let open = Rejoined { host_group: id, state: RejoinState::Primary, loss: None };
    if !primary.role()?.read_only {
        return Ok(open);
    }
    for member in group.members.iter().filter(|member| member.region != primary.region && member.reachable())
    {
        let ahead = member.admin.executed().await?.without(&primary.admin.executed().await?);
        ensure!(
            ahead.is_empty(),
            "{} is the primary, but {} has {ahead}, which it lacks: a promotion was cut off (run it again), or it lost \
             writes in its crash (`tao region promote {}`)",
            primary.region,
            member.region,
            member.region
        );
    }
    report(id, Step::Open, &format!("{} is the primary and takes writes", primary.region))?;
    primary.admin.forget_source().await?;
    primary.admin.set_mode(group.definition.mode, Side::Primary).await?;
    primary.admin.set_read_only(false).await?;
    Ok(open)
}

async fn bring_back(
    group: &Group<'_>,
    member: &Member,
    options: &RejoinOptions<'_>,
    report: &Report<'_>,
) -> Result<Rejoined> {
    let (id, primary) = (group.definition.id, group.primary()?);
    primary.role()?;
    let mode = if options.lossless { ReplicationMode::Lossless } else { group.definition.mode };
    report(id, Step::Follow, &format!("{} follows {}", member.region, primary.region))?;
    let tools = (&options.limits, options.through);
    match attach(group.definition, member, primary, mode, tools).await? {
        Attached::Following => Ok(Rejoined { host_group: id, state: RejoinState::Follows, loss: None }),
        Attached::Diverged(extra) => {
            report(id, Step::Loss, &format!("only {} has {extra}; reading it", member.region))?;
            let has = member.admin.executed().await?;
            let loss = loss::read(&member.dsn, &has, &extra, &options.limits).await?;
            Ok(Rejoined { host_group: id, state: RejoinState::Out, loss: Some(loss) })
        }
    }
}

/// The replicas acknowledge already; now the primaries wait for them, and the topology promises it.
async fn make_lossless(
    topology: &mut Topology,
    groups: &[HostGroupId],
    options: &RejoinOptions<'_>,
    report: &Report<'_>,
) -> Result<()> {
    let mut changed = false;
    for definition in topology.host_groups.iter_mut().filter(|group| groups.contains(&group.id)) {
        let group = Group::ask(definition, &options.limits).await?;
        group.primary()?.admin.set_mode(ReplicationMode::Lossless, Side::Primary).await?;
        changed |= definition.mode != ReplicationMode::Lossless;
        definition.mode = ReplicationMode::Lossless;
    }
    if changed {
        topology.version += 1;
        report(topology.host_groups[0].id, Step::Topology, &format!("store version {}", topology.version))?;
        store(topology, &options.limits).await?;
    }
    Ok(())
}
