//! Many moves, a few at a time.

use std::collections::{HashMap, VecDeque};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tao_schema::ids::HostGroupId;

use super::error::MoveError;
use super::mover::Mover;
use super::rebalance::PlannedMove;
use super::status::MoveStatus;
use super::step::Watch;
use super::terms::Orders;

/// How many moves may be under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caps {
    /// From or to one host group.
    pub per_group: usize,
    /// All in all.
    pub at_once: usize,
}

/// Does moves in order, as many at once as the caps allow; goes on with those that were begun before. After a failure none is begun
/// any more, and those under way go on to their ends. `told` hears of each end.
///
/// # Errors
/// The first failure.
pub async fn move_all(
    mover: &Mover,
    moves: &[PlannedMove],
    orders: &Orders,
    caps: Caps,
    watch: &dyn Watch,
    told: &(dyn Fn(&PlannedMove, &Result<MoveStatus, MoveError>) + Send + Sync),
) -> Result<(), MoveError> {
    let mut waiting: VecDeque<PlannedMove> = moves.iter().copied().collect();
    let mut busy: HashMap<HostGroupId, usize> = HashMap::new();
    let mut under_way = FuturesUnordered::new();
    let mut failure = None;
    loop {
        while failure.is_none() && under_way.len() < caps.at_once.max(1) {
            let free = |group: HostGroupId| busy.get(&group).copied().unwrap_or(0) < caps.per_group.max(1);
            let Some(at) = waiting.iter().position(|one| free(one.from) && free(one.to)) else { break };
            let Some(one) = waiting.remove(at) else { break };
            for group in [one.from, one.to] {
                *busy.entry(group).or_default() += 1;
            }
            under_way.push(async move { (one, whole(mover, &one, orders, watch).await) });
        }
        let Some((one, ended)) = under_way.next().await else { break };
        for group in [one.from, one.to] {
            if let Some(number) = busy.get_mut(&group) {
                *number -= 1;
            }
        }
        told(&one, &ended);
        if let Err(error) = ended {
            failure.get_or_insert(error);
        }
    }
    failure.map_or(Ok(()), Err)
}

async fn whole(
    mover: &Mover,
    one: &PlannedMove,
    orders: &Orders,
    watch: &dyn Watch,
) -> Result<MoveStatus, MoveError> {
    let begun = mover.status(one.shard).await.is_ok_and(|status| !status.over && status.target == one.to);
    if !begun {
        mover.begin_with(one.shard, one.to, orders.clone()).await?;
    }
    mover.run(one.shard, watch).await
}
