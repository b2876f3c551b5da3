//! `tao region promote`: another region's servers become the primaries (R24).
//!
//! A group whose primary answers is handed over without loss: shut, catch up, open. One whose primary does not answer
//! is taken: nothing is lost if every replica that could have acknowledged a write took part (lossless mode); else only
//! with consent.
//!
//! The point of no return of a group is its transaction with the new epochs. Before it, a hand-over that fails opens the
//! old primary again. After it, running the command again finishes the work, whatever was done already.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::join_all;
use serde::Serialize;
use tao_schema::ids::{Epoch, HostGroupId, ShardId};
use tao_schema::planted::{Bug, planted};
use tao_schema::topology::{HostGroup, ReplicationMode, Topology};
use tao_shard_store::replication::{OpenedEpochs, Side, SourceAddress};

use super::epochs::{owned, promoted};
use super::members::{Attached, Group, Member, attach};
use super::newest::{newest, store};
use super::{Limits, Report, SKIPPED_IDS, Step, Through};

/// What to promote, and what may be given up for it.
pub struct PromoteOptions<'a> {
    /// The region that takes over.
    pub region: &'a str,
    /// Which host groups; empty: all.
    pub groups: &'a [HostGroupId],
    /// Go without the old primary although it answers: for one that can't be shut.
    pub force: bool,
    /// Acknowledged writes that did not arrive in the region may be lost.
    pub accept_loss: bool,
    /// Go on in the mode `async`: a lossless primary without a replica takes no writes.
    pub as_async: bool,
    /// Only say what would be done.
    pub dry_run: bool,
    /// How long things may take.
    pub limits: Limits,
    /// See [`Through`].
    pub through: &'a Through<'a>,
}

/// What was done.
#[derive(Clone, Debug, Serialize)]
pub struct Promoted {
    /// Version of the topology that says so.
    pub topology_version: u64,
    /// Whether nothing was done, because it was only asked what would be.
    pub dry_run: bool,
    /// By host group.
    pub groups: Vec<PromotedGroup>,
}

/// What was done with a group.
#[derive(Clone, Debug, Serialize)]
pub struct PromotedGroup {
    /// The host group.
    pub host_group: HostGroupId,
    /// Region of the primary before.
    pub from: String,
    /// Region of the primary now.
    pub to: String,
    /// How.
    pub way: Way,
    /// Epoch of its shards that have no assignment of their own.
    pub epoch: Epoch,
    /// What the new primary had executed when it took over.
    pub position: String,
    /// What became of the other servers, by region.
    pub others: Vec<(String, String)>,
    /// From the first step until it took writes.
    pub seconds: f64,
}

/// How a group changes hands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The old primary is shut and everything arrives.
    Planned,
    /// The old primary is gone.
    Unplanned,
    /// It had been done before; the other servers are brought in line.
    Done,
}

/// Promotes a region. `file` says where the servers are; the newest topology that they hold counts.
///
/// # Errors
/// A refusal, with the reason and what would lift it; then nothing was changed. Or a step that failed: run it again.
pub async fn promote(file: Topology, options: &PromoteOptions<'_>, report: &Report<'_>) -> Result<Promoted> {
    let topology = newest(file, &options.limits).await?;
    ensure!(
        topology.region_named(options.region).is_some(),
        "no region {:?}; there are {}",
        options.region,
        topology.regions.iter().map(|region| region.name.as_str()).collect::<Vec<_>>().join(", ")
    );
    let definitions = selected(&topology, options.groups)?;
    let asked = definitions.iter().map(|group| Group::ask(group, &options.limits));
    let groups = join_all(asked).await.into_iter().collect::<Result<Vec<_>>>()?;
    // Refusals come before the first step.
    let ways = groups.iter().map(|group| decide(group, options)).collect::<Result<Vec<_>>>()?;
    let mut next = topology.clone();
    let moving = groups.iter().zip(&ways).filter(|(_, way)| **way != Way::Done);
    let moving: Vec<HostGroupId> = moving.map(|(group, _)| group.definition.id).collect();
    if options.dry_run {
        let groups =
            groups.iter().zip(&ways).map(|(group, way)| planned_report(group, *way, options)).collect();
        return Ok(Promoted { topology_version: topology.version, dry_run: true, groups });
    }
    let meta = &topology.host_groups[0];
    let meta_ready = moving.contains(&meta.id) || {
        let meta = Group::ask(meta, &options.limits).await?;
        meta.primary()?.reachable()
    };
    ensure!(
        meta_ready || moving.is_empty(),
        "the primary of host group {}, which keeps the topology, does not answer: promote that group as well",
        meta.id
    );

    let work =
        groups.iter().zip(&ways).map(|(group, way)| take_over(&topology, group, *way, options, report));
    let outcomes = join_all(work).await;
    // What has changed hands is said, also if another group failed.
    let done = outcomes.iter().flatten();
    let changed: BTreeMap<HostGroupId, &OpenedEpochs> =
        done.filter_map(|(group, opened)| Some((group.host_group, opened.as_ref()?))).collect();
    if !changed.is_empty() && (changed.contains_key(&meta.id) || meta_ready) {
        next = promoted(&topology, &changed, options);
        report(next.host_groups[0].id, Step::Topology, &format!("store version {}", next.version))?;
        store(&next, &options.limits).await.context("the topology")?;
    }
    let groups =
        outcomes.into_iter().map(|outcome| outcome.map(|(group, _)| group)).collect::<Result<_>>()?;
    Ok(Promoted { topology_version: next.version, dry_run: false, groups })
}

pub(super) fn selected<'a>(topology: &'a Topology, ids: &[HostGroupId]) -> Result<Vec<&'a HostGroup>> {
    if ids.is_empty() {
        return Ok(topology.host_groups.iter().collect());
    }
    ids.iter().map(|id| topology.host_group(*id).with_context(|| format!("no host group {id}"))).collect()
}

pub(super) fn mode_after(group: &HostGroup, options: &PromoteOptions<'_>) -> ReplicationMode {
    if options.as_async { ReplicationMode::Async } else { group.mode }
}

/// How a group will change hands, or why it must not.
fn decide(group: &Group<'_>, options: &PromoteOptions<'_>) -> Result<Way> {
    let definition = group.definition;
    let id = definition.id;
    let new = group.member(options.region)?;
    new.role().with_context(|| format!("host group {id}: the server to promote does not answer"))?;
    if definition.master == options.region {
        return Ok(Way::Done);
    }
    let old = group.primary()?;
    let planned = old.reachable() && !options.force;
    let lossless = definition.mode == ReplicationMode::Lossless;
    if !planned {
        // One acknowledgement is enough for a write, so each replica may be the only one that has it (R24, H21).
        let missing: Vec<&str> = group
            .members
            .iter()
            .filter(|member| member.region != old.region && !member.reachable())
            .map(|member| member.region.as_str())
            .collect();
        if lossless && !missing.is_empty() && !options.accept_loss {
            bail!(
                "host group {id}: the servers in {} do not answer, and one of them may be the only one that has an \
                 acknowledged write; bring them back, or give such writes up with --accept-loss",
                missing.join(", ")
            );
        }
        if !lossless && !options.accept_loss {
            bail!(
                "host group {id}: its primary in {} does not answer, and in the mode async some acknowledged writes may be \
                 only there; bring it back, or give such writes up with --accept-loss (they are listed when it returns)",
                old.region
            );
        }
    }
    let acknowledging =
        group.members.iter().filter(|member| member.region != new.region && member.reachable());
    let acknowledging = acknowledging.filter(|member| planned || member.region != old.region).count();
    if mode_after(definition, options) == ReplicationMode::Lossless && acknowledging == 0 {
        bail!(
            "host group {id}: no server is left to acknowledge writes, so a lossless primary would take none; go on in the \
             mode async with --as-async (`tao region rejoin --lossless` ends it)"
        );
    }
    Ok(if planned { Way::Planned } else { Way::Unplanned })
}

fn planned_report(group: &Group<'_>, way: Way, options: &PromoteOptions<'_>) -> PromotedGroup {
    let epoch = group.definition.epoch;
    let others = group.members.iter().filter(|member| member.region != options.region);
    let state = |member: &Member| match &member.role {
        Ok(_) => "answers".to_owned(),
        Err(error) => error.to_string(),
    };
    PromotedGroup {
        host_group: group.definition.id,
        from: group.definition.master.clone(),
        to: options.region.to_owned(),
        way,
        epoch: if way == Way::Done { epoch } else { Epoch(epoch.0 + 1) },
        position: String::new(),
        others: others.map(|member| (member.region.clone(), state(member))).collect(),
        seconds: 0.0,
    }
}

async fn take_over(
    topology: &Topology,
    group: &Group<'_>,
    way: Way,
    options: &PromoteOptions<'_>,
    report: &Report<'_>,
) -> Result<(PromotedGroup, Option<OpenedEpochs>)> {
    let start = Instant::now();
    let (id, new) = (group.definition.id, group.member(options.region)?);
    let context = || format!("host group {id}");
    match way {
        Way::Planned => hand_over(group, new, options, report).await.with_context(context)?,
        Way::Unplanned => gather(group, new, options, report).await.with_context(context)?,
        Way::Done => {}
    }
    let mut outcome = planned_report(group, way, options);
    outcome.position = new.admin.executed().await?.to_string();
    let mode = mode_after(group.definition, options);
    let mut opened = None;
    if way == Way::Done {
        // A primary that came back read-only is not opened by the way: its replicas may be ahead of it.
        ensure!(
            !new.role()?.read_only,
            "host group {id}: {} is the primary already, and read-only: `tao region rejoin {}`",
            new.region,
            new.region
        );
    } else {
        let owned = owned(topology, id);
        report(id, Step::Epochs, &format!("{} shards in {} get new epochs", owned.len(), new.region))?;
        // Before the mode: a lossless server would wait for replicas that do not follow it yet.
        let rows = new.admin.open_epochs(&owned, SKIPPED_IDS).await.with_context(context)?;
        if !rows.left.is_empty() {
            report(id, Step::Epochs, &format!("left to moves: shards {}", list(&rows.left)))?;
        }
        opened = Some(rows);
        report(id, Step::Open, &format!("{} takes writes", new.region))?;
        new.admin.set_mode(mode, Side::Primary).await.with_context(context)?;
        new.admin.set_read_only(false).await.with_context(context)?;
    }
    outcome.seconds = start.elapsed().as_secs_f64();
    outcome.others = follow_all(group, new, way, mode, options, report).await?;
    Ok((outcome, opened))
}

fn list(shards: &[ShardId]) -> String {
    shards.iter().map(ShardId::to_string).collect::<Vec<_>>().join(", ")
}

/// The old primary is shut, and everything that it has arrives.
async fn hand_over(
    group: &Group<'_>,
    new: &Member,
    options: &PromoteOptions<'_>,
    report: &Report<'_>,
) -> Result<()> {
    let (id, old, limits) = (group.definition.id, group.primary()?, &options.limits);
    let follows = new.role()?.following.is_some();
    if !follows {
        // Detached: by an earlier run, or by somebody else. Then what is missing will not come.
        let missing = old.admin.executed().await?.without(&new.admin.executed().await?);
        ensure!(
            missing.is_empty(),
            "{} follows nobody and lacks {missing}: `tao region rejoin {}` first",
            new.region,
            new.region
        );
    }
    let was_open = !old.role()?.read_only;
    report(id, Step::Shut, &format!("{} takes no more writes", old.region))?;
    let arrived = async {
        let all = old.admin.set_read_only(true).await?;
        if follows {
            report(id, Step::CatchUp, &format!("{} gets {all}", new.region))?;
            new.admin.wait_executed(&all, limits.catch_up).await?;
        }
        // Whoever may write on a read-only server could have written meanwhile.
        let late = old.admin.executed().await?.without(&new.admin.executed().await?);
        ensure!(
            late.is_empty(),
            "{} was written to although it is shut ({late}): an account there has SUPER or READ_ONLY ADMIN",
            old.region
        );
        anyhow::Ok(())
    };
    if let Err(error) = arrived.await {
        // Nothing has changed yet. If a new epoch was opened by an earlier run, the old primary must stay shut.
        if was_open && follows {
            old.admin.set_read_only(false).await.context("the old primary could not be opened again")?;
        }
        return Err(error);
    }
    report(id, Step::Detach, &format!("{} stops following", new.region))?;
    new.admin.stop_replication(true, limits.catch_up).await?;
    Ok(new.admin.forget_source().await?)
}

/// The old primary is gone: the new one gets everything that any replica has.
async fn gather(
    group: &Group<'_>,
    new: &Member,
    options: &PromoteOptions<'_>,
    report: &Report<'_>,
) -> Result<()> {
    let (id, limits, master) = (group.definition.id, &options.limits, &group.definition.master);
    let replicas: Vec<&Member> =
        group.members.iter().filter(|member| member.region != *master && member.reachable()).collect();
    if let Some(old) = group.primary().ok().filter(|old| old.reachable()) {
        report(
            id,
            Step::Shut,
            &format!("{} is told to take no more writes, and not waited for", old.region),
        )?;
        // That it may not work is what --force is for.
        let _maybe_not = tokio::time::timeout(limits.connect, old.admin.set_read_only(true)).await;
    }
    report(id, Step::CatchUp, "replicas apply what they have fetched, and stop")?;
    for replica in &replicas {
        // From here on none of them acknowledges a write of the old primary (R24).
        replica.admin.stop_replication(true, limits.catch_up).await?;
    }
    for replica in replicas.iter().filter(|replica| replica.region != new.region) {
        let more = replica.admin.executed().await?;
        let missing = more.without(&new.admin.executed().await?);
        if missing.is_empty() || new.role()?.following.is_none() || planted(Bug::PromotedTheOlder) {
            // One that has forgotten its source may have opened its epochs in an earlier run, and follows nobody again.
            continue;
        }
        report(id, Step::CatchUp, &format!("{} gets {missing} from {}", new.region, replica.region))?;
        let source = SourceAddress::of(replica.dsn.expose())?;
        new.admin.replicate_from(&source).await?;
        new.admin.wait_executed(&more, limits.catch_up).await?;
        new.admin.stop_replication(true, limits.catch_up).await?;
    }
    report(id, Step::Detach, &format!("{} stops following", new.region))?;
    Ok(new.admin.forget_source().await?)
}

/// All others that answer follow the new primary. One that does not is no reason to stop: it can be brought back later.
async fn follow_all(
    group: &Group<'_>,
    new: &Member,
    way: Way,
    mode: ReplicationMode,
    options: &PromoteOptions<'_>,
    report: &Report<'_>,
) -> Result<Vec<(String, String)>> {
    let mut outcomes = Vec::new();
    for member in group.members.iter().filter(|member| member.region != new.region) {
        let rejoin = format!("`tao region rejoin {}`", member.region);
        let old = way == Way::Unplanned && member.region == group.definition.master;
        let outcome = if old || !member.reachable() {
            format!("does not take part; when it returns: {rejoin}")
        } else {
            report(group.definition.id, Step::Follow, &format!("{} follows {}", member.region, new.region))?;
            let tools = (&options.limits, options.through);
            match attach(group.definition, member, new, mode, tools).await {
                Ok(Attached::Following) => "follows".to_owned(),
                Ok(Attached::Diverged(extra)) => format!("has {extra}, which was lost; {rejoin} lists it"),
                Err(error) => format!("does not follow: {error:#}; {rejoin}"),
            }
        };
        outcomes.push((member.region.clone(), outcome));
    }
    Ok(outcomes)
}
