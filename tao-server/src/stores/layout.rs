//! Whether the databases hold the shards that the topology says.
//!
//! A wrong number of shards, or host groups in another order, would send requests to databases that don't have the
//! data, and make empty shards beside the real ones. So a contradiction is refused before anything is written.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Result, bail, ensure};
use tao_schema::ids::{Epoch, HostGroupId, ShardId};
use tao_schema::rows::ShardState;
use tao_schema::topology::{Placement, Topology};
use tao_shard_store::store::ShardRow;

/// Shards whose rows are to be made, by place.
pub type Missing = HashMap<(HostGroupId, Epoch), Vec<ShardId>>;

/// The shards that are nowhere yet, of the host groups whose rows are `held`.
///
/// # Errors
/// A database holds shards that the topology does not have, or has elsewhere; or it holds some and lacks others.
pub fn missing(
    topology: &Topology,
    placement: &Placement,
    held: &[(HostGroupId, Vec<ShardRow>)],
) -> Result<Missing> {
    let mut owned: BTreeMap<HostGroupId, BTreeSet<ShardId>> = BTreeMap::new();
    for (group, rows) in held {
        for row in rows {
            if matches!(row.state, ShardState::Serving | ShardState::Fenced) {
                check_row(topology, placement, *group, row)?;
            }
        }
        owned.insert(*group, rows.iter().map(|row| row.shard).collect());
    }
    let mut missing = Missing::new();
    for shard in placement.shards() {
        let Some((group, epoch)) = placement.host_group(shard) else {
            bail!("shard {shard} has no host group")
        };
        // Of groups that were not asked nothing is known.
        let Some(here) = owned.get(&group) else { continue };
        if here.contains(&shard) {
            continue;
        }
        // All rows of a database are made in one transaction: it has all or none.
        ensure!(
            here.is_empty(),
            "host group {group} holds {} shards, but not shard {shard}, which the topology places there: shards = {} \
             is not the number that the databases were made with, or host_groups were added or reordered",
            here.len(),
            topology.shards
        );
        missing.entry((group, epoch)).or_default().push(shard);
    }
    if !missing.is_empty() && owned.values().any(|rows| !rows.is_empty()) {
        let empty: Vec<String> = missing.keys().map(|(group, _)| group.to_string()).collect();
        // A first start that was interrupted looks like this, too.
        tracing::warn!(host_groups = empty.join(", "), "empty beside others that hold shards: filling in");
    }
    Ok(missing)
}

fn check_row(topology: &Topology, placement: &Placement, group: HostGroupId, row: &ShardRow) -> Result<()> {
    let shard = row.shard;
    let Some((place, epoch)) = placement.host_group(shard) else {
        bail!(
            "host group {group} holds shard {shard}, but the topology has shards = {}: the number of shards is fixed \
             when a cluster is made",
            topology.shards
        );
    };
    if place != group && moved(row, epoch) {
        // A move whose worker died on the way, or that can still be reversed (R25): who owns the shard is certain.
        tracing::info!(%shard, host_group = %group, row = %row.epoch, topology = %epoch, state = ?row.state,
            "a move left this row");
        return Ok(());
    }
    ensure!(
        place == group,
        "shard {shard} is in host group {group}, but the topology places it in {place}: host_groups were added, removed \
         or reordered; add an [[assignments]] entry for each shard that is not where the rule puts it"
    );
    if epoch != row.epoch {
        // Not fatal: the shard's calls answer \"not owner\" until the topology is right, the others work.
        tracing::error!(%shard, database = %row.epoch, topology = %epoch, "epochs differ: a stale topology file?");
    }
    Ok(())
}

/// Whether a move explains a row of a shard that the topology has elsewhere, in `epoch`: what was left behind is of an older
/// epoch, and fenced; what serves already, and is not in the topology yet, is of a newer one. Host groups that were mixed up
/// have equal epochs.
fn moved(row: &ShardRow, epoch: Epoch) -> bool {
    match row.state {
        ShardState::Fenced => row.epoch < epoch,
        ShardState::Serving => row.epoch > epoch,
        ShardState::Importing | ShardState::Aborted | ShardState::Gone => true,
    }
}

#[cfg(test)]
mod tests {
    use tao_schema::ids::Seq;

    use super::*;

    fn topology(shards: u32) -> Topology {
        let text = format!(
            "version = 1\ncluster = \"t\"\nshards = {shards}\n[[regions]]\nname = \"r\"\n\
             leaders = {{ name = \"l\", nodes = [{{ name = \"l1\", address = \"127.0.0.1:1\" }}] }}\n\
             [[host_groups]]\nid = 1\nmaster = \"r\"\n[[host_groups]]\nid = 2\nmaster = \"r\"\n"
        );
        Topology::parse(&text, "topology.toml").unwrap()
    }

    fn rows(shards: &[u16]) -> Vec<ShardRow> {
        let row = |shard: &u16| ShardRow {
            shard: ShardId(*shard),
            epoch: Epoch(1),
            seq: Seq(7),
            state: ShardState::Serving,
        };
        shards.iter().map(row).collect()
    }

    fn ask(shards: u32, first: &[u16], second: &[u16]) -> Result<Vec<ShardId>> {
        let topology = topology(shards);
        let held = [(HostGroupId(1), rows(first)), (HostGroupId(2), rows(second))];
        let missing = missing(&topology, &Placement::compute(&topology), &held)?;
        let mut all: Vec<ShardId> = missing.into_values().flatten().collect();
        all.sort_unstable();
        Ok(all)
    }

    #[test]
    fn rows_are_made_where_there_are_none() {
        assert_eq!(ask(4, &[], &[]).unwrap(), [0, 1, 2, 3].map(ShardId));
        assert_eq!(ask(4, &[0, 2], &[]).unwrap(), [1, 3].map(ShardId));
        assert_eq!(ask(4, &[0, 2], &[1, 3]).unwrap(), []);
    }

    #[test]
    fn a_move_that_is_under_way_is_no_contradiction() {
        let topology = topology(2);
        let placement = Placement::compute(&topology);
        let look = |at: &[(u16, u32, ShardState)]| {
            let row = |(shard, epoch, state): &(u16, u32, ShardState)| ShardRow {
                shard: ShardId(*shard),
                epoch: Epoch(*epoch),
                seq: Seq(7),
                state: *state,
            };
            let first = (HostGroupId(1), rows(&[0]));
            missing(&topology, &placement, &[first, (HostGroupId(2), at.iter().map(row).collect())])
        };
        // Shard 0 is placed in host group 1, in epoch 1.
        assert!(look(&[(1, 1, ShardState::Serving), (0, 2, ShardState::Serving)]).unwrap().is_empty());
        for state in [ShardState::Importing, ShardState::Gone, ShardState::Aborted] {
            assert!(look(&[(1, 1, ShardState::Serving), (0, 1, state)]).unwrap().is_empty());
        }
        for state in [ShardState::Serving, ShardState::Fenced] {
            look(&[(1, 1, ShardState::Serving), (0, 1, state)]).unwrap_err();
        }
    }

    #[test]
    fn a_topology_that_contradicts_the_databases_is_refused() {
        for (shards, first, second, wanted) in [
            (2, &[0, 2][..], &[1, 3][..], "holds shard 2, but the topology has shards = 2"),
            (8, &[0, 2], &[1, 3], "not shard 4"),
            (4, &[1, 3], &[0, 2], "shard 1 is in host group 1, but the topology places it in 2"),
        ] {
            let error = ask(shards, first, second).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
