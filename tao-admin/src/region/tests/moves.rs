//! A promotion while shards are on their way.

use tao_schema::ids::{Position, Seq};
use tao_schema::rows::ShardState;
use tao_schema::topology::Assignment;
use tao_shard_store::log::{LogPosition, ServerLog};
use tao_shard_store::moves::{
    AbortImport, BeginImport, CommitImport, Copied, Fence, FenceShard, Import, MoveId, Progress, ShardMover,
};

use super::*;

const ONE: Epoch = FIRST_EPOCH;

/// Shards 0 and 2 are on the first host group, 1 and 3 on the second.
impl Servers {
    async fn fence(&self, shard: ShardId, move_id: MoveId) -> Fence {
        let source = self.store(self.group(shard), 0).await;
        let fence = FenceShard { shard, move_id, epoch: ONE, target: "other".to_owned() };
        source.fence(fence).await.unwrap().accepted().unwrap()
    }

    /// A cutover that was rolled back; nobody told the topology.
    async fn roll_back(&self, shard: ShardId, move_id: MoveId) -> Position {
        self.fence(shard, move_id).await;
        let target = self.store(1 - self.group(shard), 0).await;
        let abort = AbortImport { shard, move_id, source: "other".to_owned() };
        let proof = target.abort_import(abort).await.unwrap().accepted().unwrap();
        let source = self.store(self.group(shard), 0).await;
        source.unfence(&proof).await.unwrap().accepted().unwrap()
    }

    /// A whole move of a shard without rows; nobody told the topology.
    async fn carry_over(&self, shard: ShardId, move_id: MoveId) -> Position {
        let target = self.store(1 - self.group(shard), 0).await;
        let (source, none) = ("other".to_owned(), LogPosition::none());
        let applied = Position { shard, epoch: ONE, seq: Seq::ZERO };
        let begin = BeginImport { shard, move_id, source, applied, position: none.clone(), continues: None };
        target.begin_import(begin).await.unwrap().accepted().unwrap();
        let fence = self.fence(shard, move_id).await;
        let progress = Progress { copied: Copied::ALL, applied: fence.at, position: none.clone(), step: 1 };
        let import = Import { shard, move_id, step: 0, puts: vec![], deletes: vec![], progress };
        target.import(import).await.unwrap().accepted().unwrap();
        let (fence, next_id) = (fence.at, fence.next_id);
        let commit = CommitImport { shard, move_id, fence, next_id, executed: none };
        target.commit_import(commit).await.unwrap().accepted().unwrap().at()
    }

    async fn row(&self, group: usize, shard: u16) -> (ShardState, Epoch) {
        let moves = self.store(group, 1).await.shard_moves(ShardId(shard)).await.unwrap();
        let row = moves.row.unwrap();
        (row.state, row.epoch)
    }
}

#[tokio::test]
async fn r25_a_promotion_leaves_to_moves_what_they_have() {
    use ShardState::{Fenced, Serving};
    for binary in test_servers().unwrap() {
        let servers = Servers::start(binary.clone(), 2, ReplicationMode::Async).await;
        servers.fence(ShardId(0), MoveId(1)).await;
        let opened = servers.roll_back(ShardId(2), MoveId(2)).await;
        assert_eq!(opened.epoch, Epoch(3));
        let carried = servers.carry_over(ShardId(1), MoveId(3)).await;
        assert_eq!(carried.epoch, Epoch(2));

        // Cut off between the epochs and the topology once: what was opened is opened again, and told right.
        let cut_off = |_: HostGroupId, step: Step, _: &str| match step {
            Step::Topology => bail!("cut off"),
            _ => Ok(()),
        };
        promote(servers.topology.clone(), &to("b"), &cut_off).await.unwrap_err();
        let promoted = servers.promote(&to("b")).await.unwrap();
        assert_eq!(promoted.topology_version, 2, "{binary}");
        assert_eq!(servers.row(0, 0).await, (Fenced, ONE), "{binary}: fenced by a move");
        assert_eq!(servers.row(1, 1).await, (Fenced, ONE), "{binary}: fenced by a move that is over");
        assert_eq!(servers.row(1, 3).await, (Serving, Epoch(2)), "{binary}: no move's");
        let (state, again) = servers.row(0, 2).await;
        assert!(state == Serving && again > opened.epoch, "{binary}: opened by a move: {again}");
        let (state, epoch) = servers.row(0, 1).await;
        assert!(state == Serving && epoch > carried.epoch, "{binary}: brought by a move: {epoch}");

        let stored = servers.store(0, 1).await.stored_topology().await.unwrap().unwrap();
        let told = Topology::parse(&stored.toml, "stored").unwrap();
        let place =
            |shard, group, epoch| Assignment { shard: ShardId(shard), host_group: HostGroupId(group), epoch };
        // Shard 1 stays where the topology had it: that it has moved is for its move to say.
        assert_eq!(told.assignments, [place(0, 1, ONE), place(1, 2, ONE), place(2, 1, again)], "{binary}");
        assert!(told.host_groups.iter().all(|group| group.epoch == Epoch(2)), "{binary}");
    }
}
