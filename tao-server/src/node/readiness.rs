//! Whether a running node takes work, and what somebody should look at.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::health::{Details, Health};
use crate::stores::Stores;
use crate::topology::TopologyState;

/// Between two looks for gRPC's health, which has no question that could be answered when it comes.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Has `/readyz` look at the parts of the node.
///
/// A database that was never reached keeps a leader from being ready where it is the primary: nobody else can do its
/// work. A replica does not: what it can't answer goes to the region of the primary.
pub(super) fn watch(health: &Health, topology: Arc<TopologyState>, stores: Stores, region: u16) {
    health.look_at(Box::new(move || {
        let mut details = Details { waits_for: Vec::new(), notes: topology.problems() };
        let now = topology.topology();
        for group in &now.host_groups {
            let Some(missing) = stores.get(&group.id).and_then(|store| store.missing()) else { continue };
            if now.region_named(&group.master) == Some(region) {
                details.waits_for.push(missing);
            } else {
                details.notes.push(format!("{missing}; its reads go to region {}", group.master));
            }
        }
        details
    }));
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
