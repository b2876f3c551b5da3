//! What a promotion asks of the shard rows, and what the topology says of them afterwards.

use std::collections::BTreeMap;

use tao_schema::ids::{Epoch, HostGroupId, ShardId};
use tao_schema::topology::{Assignment, Topology};
use tao_shard_store::replication::{EpochChange, OpenedEpochs};

use super::promote::{PromoteOptions, mode_after};

/// The shards that the topology has on a host group, each with the next epoch.
pub(super) fn owned(topology: &Topology, group: HostGroupId) -> Vec<EpochChange> {
    let places = topology.all_assignments().into_iter().filter(|place| place.host_group == group);
    places
        .map(|place| EpochChange { shard: place.shard, old: place.epoch, new: Epoch(place.epoch.0 + 1) })
        .collect()
}

/// The topology after the promotion. Shards that a move has keep their epochs, and one that serves in another epoch than
/// the group's gets that: a move opened it and had not said so yet. A shard that serves here while the topology has it
/// elsewhere is not named: that is for the move to say, once the row is on every server that could be promoted (R25).
pub(super) fn promoted(
    topology: &Topology,
    groups: &BTreeMap<HostGroupId, &OpenedEpochs>,
    options: &PromoteOptions<'_>,
) -> Topology {
    let mut next = topology.clone();
    next.version += 1;
    let mut explicit: BTreeMap<ShardId, Assignment> =
        topology.assignments.iter().map(|place| (place.shard, *place)).collect();
    for group in &mut next.host_groups {
        let Some(rows) = groups.get(&group.id) else { continue };
        options.region.clone_into(&mut group.master);
        group.epoch = Epoch(group.epoch.0 + 1);
        group.mode = mode_after(group, options);
        for EpochChange { shard, old, new } in owned(topology, group.id) {
            let left = rows.left.binary_search(&shard).is_ok();
            let epoch = if left { old } else { rows.serving.get(&shard).copied().unwrap_or(new) };
            if epoch != group.epoch || explicit.contains_key(&shard) {
                explicit.insert(shard, Assignment { shard, host_group: group.id, epoch });
            }
        }
    }
    next.assignments = explicit.into_values().collect();
    next
}

#[cfg(test)]
mod tests {
    use tao_schema::topology::{HostGroup, ReplicationMode};

    use super::super::Limits;
    use super::*;

    fn place(shard: u16, host_group: u16, epoch: u32) -> Assignment {
        Assignment { shard: ShardId(shard), host_group: HostGroupId(host_group), epoch: Epoch(epoch) }
    }

    #[test]
    fn r25_the_topology_says_of_a_shard_what_its_row_says() {
        let group = |id| HostGroup {
            id: HostGroupId(id),
            master: "a".to_owned(),
            epoch: Epoch(3),
            mode: ReplicationMode::Async,
            servers: BTreeMap::new(),
        };
        // Group 1 has shards 0, 2, 4, 6 and by name 1; group 2 the others.
        let topology = Topology {
            version: 9,
            cluster: "test".to_owned(),
            shards: 8,
            regions: Vec::new(),
            host_groups: vec![group(1), group(2)],
            assignments: vec![place(1, 1, 7)],
        };
        let serving = [(0, 4), (1, 8), (4, 6), (7, 5)].map(|(shard, epoch)| (ShardId(shard), Epoch(epoch)));
        // Shard 2 is fenced by a move from here, 5 is on its way to here; the fence of 4 was taken away before, and 7 has
        // come from group 2, and nobody said so. Shard 6 was fenced by hand in the new epoch.
        let left = vec![ShardId(2), ShardId(5)];
        let rows = OpenedEpochs { opened: Vec::new(), left, serving: serving.into() };
        let options = PromoteOptions {
            region: "b",
            groups: &[],
            force: false,
            accept_loss: false,
            as_async: false,
            dry_run: false,
            limits: Limits::default(),
            through: &|_, _| None,
        };
        let next = promoted(&topology, &[(HostGroupId(1), &rows)].into(), &options);
        assert_eq!(next.assignments, [place(1, 1, 8), place(2, 1, 3), place(4, 1, 6)]);
        let [first, second] = &next.host_groups[..] else { panic!("two groups") };
        assert_eq!(
            (first.epoch, &*first.master, second.epoch, &*second.master),
            (Epoch(4), "b", Epoch(3), "a")
        );
        assert_eq!(next.version, 10);
    }
}
