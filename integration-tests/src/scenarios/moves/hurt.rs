//! What goes wrong during a move, and how it is put right.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tao_schema::ids::HostGroupId;
use tao_schema::topology::{Placement, TierRef};
use tokio::task::block_in_place;

use super::order::{MoveFault, Order, Side};
use crate::faults::{Fault, Injected, Place};
use crate::regions::{Regions, region_name};
use crate::scenarios::stage::Stage;

/// How late a replica is.
const LATE_SECONDS: u32 = 3;
/// How often a failover is tried: one that was cut off goes on.
const TRIES: usize = 3;

/// Lets it happen. What must be undone is in the answer.
///
/// # Errors
/// It can't happen, or something did not do what it must.
pub(super) async fn hurt(stage: &mut Stage, order: &Order, fault: MoveFault) -> Result<Option<Injected>> {
    let masters = block_in_place(|| stage.cluster.masters())?;
    let group = |side| if side == Side::Source { order.from } else { order.to };
    let fault = match fault {
        // The worker is not the cluster's.
        MoveFault::KillMover => return Ok(None),
        MoveFault::Failover(side) => {
            failover(&stage.cluster, &masters, group(side)).await?;
            return Ok(None);
        }
        MoveFault::KillLeader => Fault::Kill(leader(stage, order, &masters).await?),
        MoveFault::KillServer(side) => Fault::Kill(server(&masters, group(side), true)?),
        MoveFault::StopReplication(side) => Fault::StopReplication(server(&masters, group(side), false)?),
        MoveFault::DelayReplication(side) => {
            Fault::DelayReplication { server: server(&masters, group(side), false)?, seconds: LATE_SECONDS }
        }
    };
    stage.cluster.inject(&fault).await.map(Some)
}

/// Undoes it, and waits until everything runs.
///
/// # Errors
/// Something does not come back.
pub(super) async fn heal(stage: &mut Stage, injected: Option<Injected>) -> Result<()> {
    if let Some(mut injected) = injected {
        stage.cluster.heal(&mut injected).await?;
        stage.cluster.wait_ready().await?;
    }
    // A replica of MariaDB that lost its connection in the greeting stays stopped: as an administrator would.
    stage.cluster.start_replication().await
}

/// The primary of a host group, or the first of its replicas.
fn server(masters: &[usize], group: HostGroupId, primary: bool) -> Result<Place> {
    let master = *masters.get(usize::from(group.0) - 1).context("a host group")?;
    let region = if primary { master } else { usize::from(master == 0) };
    Ok(Place::server(group.0, region_name(region)))
}

/// The leader that takes the shard's writes: in the master region of whoever serves it.
async fn leader(stage: &mut Stage, order: &Order, masters: &[usize]) -> Result<Place> {
    let topology = stage.topology().await?;
    let serves = topology.assignment(order.shard).context("a shard of the cluster")?.host_group;
    let master = *masters.get(usize::from(serves.0) - 1).context("a host group")?;
    let tier = TierRef { region: u16::try_from(master)?, tier: 0 };
    let owner = Placement::compute(&topology).owner(tier, order.shard).context("a leader")?;
    let node = topology.tier(tier).and_then(|tier| tier.nodes.get(usize::from(owner))).context("a leader")?;
    Ok(Place::node(&node.name))
}

async fn failover(cluster: &Regions, masters: &[usize], group: HostGroupId) -> Result<()> {
    let master = *masters.get(usize::from(group.0) - 1).context("a host group")?;
    let other = (master + 1) % cluster.topology().regions.len();
    let number = group.to_string();
    cluster.start_replication().await.context("replication before a failover")?;
    let mut tries = 1;
    loop {
        let done = cluster.promote(other, &["--group", &number]).await;
        match done {
            Ok(_) => return Ok(()),
            Err(error) if tries >= TRIES => return Err(error.context("a planned failover")),
            Err(_) => tries += 1,
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
