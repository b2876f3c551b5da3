//! Whether a running node takes work, and what somebody should look at.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tao_leader_follower::leader::{GroupStatus, LeaderHandle, TailState};
use tao_schema::ids::PrimaryTime;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::health::{Details, Health};
use crate::stores::Stores;
use crate::topology::TopologyState;

/// Clocks that differ by more are named. Nothing is decided by them: ages come from this node's own clock (R20).
const SKEW: Duration = Duration::from_secs(30);
/// Between two looks for gRPC's health, which has no question that could be answered when it comes.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Has `/readyz` look at the parts of the node.
///
/// A database that was never reached keeps a leader from being ready where it is the primary: nobody else can do its
/// work. A replica does not: what it can't answer goes to the region of the primary.
pub(super) fn watch(
    health: &Health,
    topology: Arc<TopologyState>,
    stores: Stores,
    leader: Option<LeaderHandle>,
    region: u16,
) {
    health.look_at(Box::new(move || {
        let mut details = Details { waits_for: Vec::new(), notes: topology.problems() };
        let now = topology.topology();
        let home = now.regions.get(usize::from(region)).map_or(String::new(), |region| region.name.clone());
        for group in &now.host_groups {
            let Some(missing) = stores.get(&group.id).and_then(|store| store.missing()) else { continue };
            if now.region_named(&group.master) == Some(region) {
                details.waits_for.push(missing);
            } else {
                details.notes.push(format!("{missing}; its reads go to region {}", group.master));
            }
        }
        for group in leader.iter().flat_map(LeaderHandle::groups) {
            let reached = stores.get(&group.host_group).is_some_and(|store| store.missing().is_none());
            look_at_log(&group, &home, reached, &mut details);
        }
        details
    }));
}

/// What the log of one host group has to say.
fn look_at_log(group: &GroupStatus, home: &str, reached: bool, details: &mut Details) {
    let name = format!("host group {}", group.host_group);
    if let Some(refused) = &group.refused {
        details.notes.push(format!("{name}: this region's server is refused: {refused}"));
    }
    let error = group.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
    if let Some(other) = group.followed.as_deref().filter(|followed| *followed != home) {
        details.notes.push(format!(
            "{name}: the log of its server in region {other} is followed in place of this region's{error}"
        ));
    }
    match group.state {
        // Without its server the line above says so already.
        TailState::Starting if reached => details.waits_for.push(format!("the log of {name}{error}")),
        TailState::Starting => {}
        TailState::Lost => {
            details.notes.push(format!("{name}: its log is lost, what is in memory grows old{error}"));
        }
        TailState::Following if group.age.is_none() => {
            details.notes.push(format!("{name}: nobody vouches for the age of what is in memory{error}"));
        }
        TailState::Following => {}
    }
    if let (Some(PrimaryTime(time)), Some(age)) = (group.time, group.age) {
        let there = Duration::from_millis(time) + age;
        let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if there.abs_diff(here) > SKEW {
            let apart = there.abs_diff(here).as_secs();
            details
                .notes
                .push(format!("{name}: the clock of its primary and that of this node are {apart} s apart"));
        }
    }
}

/// Keeps gRPC's health in line with `/readyz` until `drain`, which then speaks for itself.
pub(super) async fn report(
    health: Health,
    reporter: HealthReporter,
    service: &'static str,
    drain: CancellationToken,
) {
    let mut told = set(&health, &reporter, service).await;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                biased;
                () = drain.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if told != health.details().waits_for.is_empty() {
                told = set(&health, &reporter, service).await;
            }
        }
    });
}

/// Answers what it told.
async fn set(health: &Health, reporter: &HealthReporter, service: &'static str) -> bool {
    let serves = health.details().waits_for.is_empty();
    let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
    for name in ["", service] {
        reporter.set_service_status(name, status).await;
    }
    serves
}
