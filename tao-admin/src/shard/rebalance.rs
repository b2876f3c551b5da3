//! Which moves make load even: after a host group was added, or before one is drained. Pure.

use std::collections::BTreeMap;

use serde::Serialize;
use tao_schema::ids::{HostGroupId, ShardId};
use tao_schema::topology::Topology;

use super::error::MoveError;

/// One of the moves of a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct PlannedMove {
    /// The shard.
    pub shard: ShardId,
    /// Who has it.
    pub from: HostGroupId,
    /// Who is to have it.
    pub to: HostGroupId,
}

/// Moves that make load even.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Rebalance {
    /// In the order in which they are to be begun.
    pub moves: Vec<PlannedMove>,
    /// Shards of each host group before.
    pub before: BTreeMap<HostGroupId, usize>,
    /// And afterwards.
    pub after: BTreeMap<HostGroupId, usize>,
}

/// The fewest moves after which the numbers of shards of all host groups differ by one at most, and `drain` has none. Host groups
/// in `leave` neither give nor take.
///
/// # Errors
/// There is no such host group, or none that could take the shards.
pub fn rebalance(
    topology: &Topology,
    drain: Option<HostGroupId>,
    leave: &[HostGroupId],
) -> Result<Rebalance, MoveError> {
    for group in drain.iter().chain(leave) {
        if topology.host_group(*group).is_none() {
            return Err(MoveError::usage(format!("no host group {group}")));
        }
    }
    let mut held: BTreeMap<HostGroupId, Vec<ShardId>> =
        topology.host_groups.iter().map(|group| (group.id, Vec::new())).collect();
    for place in topology.all_assignments() {
        held.entry(place.host_group).or_default().push(place.shard);
    }
    let before = held.iter().map(|(group, shards)| (*group, shards.len())).collect();
    let takers: Vec<HostGroupId> =
        held.keys().copied().filter(|group| Some(*group) != drain && !leave.contains(group)).collect();
    if takers.is_empty() {
        return Err(MoveError::usage("no host group is left that could take shards"));
    }
    let in_play: usize =
        held.iter().filter(|(group, _)| !leave.contains(group)).map(|(_, shards)| shards.len()).sum();
    let (share, rest) = (in_play / takers.len(), in_play % takers.len());
    // Those that have the most keep one more: fewer moves.
    let mut by_size = takers.clone();
    by_size.sort_by_key(|group| std::cmp::Reverse(held[group].len()));
    let goal: BTreeMap<HostGroupId, usize> =
        by_size.iter().enumerate().map(|(at, group)| (*group, share + usize::from(at < rest))).collect();
    let mut moves = Vec::new();
    loop {
        let surplus =
            |group: &HostGroupId| held[group].len().saturating_sub(goal.get(group).copied().unwrap_or(0));
        let from =
            held.keys().copied().filter(|group| !leave.contains(group)).max_by_key(|group| surplus(group));
        let Some(from) = from.filter(|group| surplus(group) > 0) else { break };
        let lack = |group: &HostGroupId| goal[group].saturating_sub(held[group].len());
        let Some(to) = takers.iter().copied().max_by_key(|group| lack(group)).filter(|group| lack(group) > 0)
        else {
            break;
        };
        let Some(shard) = held.get_mut(&from).and_then(Vec::pop) else { break };
        held.entry(to).or_default().push(shard);
        moves.push(PlannedMove { shard, from, to });
    }
    let after = held.iter().map(|(group, shards)| (*group, shards.len())).collect();
    Ok(Rebalance { moves, before, after })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(groups: u16, shards: u32) -> Topology {
        let mut text = format!(
            "version = 1\ncluster = \"t\"\nshards = {shards}\n[[regions]]\nname = \"r\"\nleaders = {{ name = \"l\", nodes = \
             [{{ name = \"l1\", address = \"127.0.0.1:1\" }}] }}\n"
        );
        for id in 1..=groups {
            text.push_str(&format!("[[host_groups]]\nid = {id}\nmaster = \"r\"\n"));
        }
        Topology::parse(&text, "t").unwrap()
    }

    fn numbers(plan: &Rebalance) -> Vec<usize> {
        plan.after.values().copied().collect()
    }

    #[test]
    fn a_new_host_group_gets_its_share_with_the_fewest_moves() {
        let mut wider = topology(2, 16).pinned();
        wider.host_groups.push(topology(3, 16).host_groups[2].clone());
        let plan = rebalance(&wider, None, &[]).unwrap();
        assert_eq!((numbers(&plan), plan.moves.len()), (vec![6, 5, 5], 5));
        assert!(plan.moves.iter().all(|one| one.to == HostGroupId(3) && one.from != one.to));
        let mut shards: Vec<_> = plan.moves.iter().map(|one| one.shard).collect();
        shards.sort_unstable();
        shards.dedup();
        assert_eq!(shards.len(), 5, "each shard moves once");
        assert!(rebalance(&topology(2, 16), None, &[]).unwrap().moves.is_empty());
    }

    #[test]
    fn a_host_group_is_drained_over_the_others() {
        let plan = rebalance(&topology(3, 18), Some(HostGroupId(2)), &[]).unwrap();
        assert_eq!((numbers(&plan), plan.moves.len()), (vec![9, 0, 9], 6));
        let plan = rebalance(&topology(3, 18), Some(HostGroupId(2)), &[HostGroupId(3)]).unwrap();
        assert_eq!(numbers(&plan), [12, 0, 6]);
        assert!(rebalance(&topology(1, 4), Some(HostGroupId(1)), &[]).is_err());
        assert!(rebalance(&topology(1, 4), Some(HostGroupId(9)), &[]).is_err());
    }
}
