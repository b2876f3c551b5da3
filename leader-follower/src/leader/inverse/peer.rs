//! Inverses for another leader: what waits goes into one call.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use tao_schema::Error;
use tao_schema::ids::Position;
use tao_schema::ops::InverseState;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::{Carry, Inverses};
use crate::ports::{LeaderPeer, WriteAnswer};

/// Rows for one leader. Bounded by the permits that they hold.
pub(super) struct PeerQueue {
    /// As the topology has it now: a leader may come back at another address.
    peer: Mutex<Arc<dyn LeaderPeer>>,
    waiting: Mutex<VecDeque<Arc<Carry>>>,
    news: Notify,
}

impl PeerQueue {
    /// The next call's rows. One that must go alone does.
    fn take(&self, most: usize) -> Vec<Arc<Carry>> {
        let mut waiting = self.waiting.lock();
        let together = waiting.iter().take(most.max(1));
        let count = together.take_while(|carry| !carry.alone.load(Ordering::Relaxed)).count();
        let count = count.max(1).min(waiting.len());
        let taken = waiting.drain(..count).collect();
        if !waiting.is_empty() {
            // For the next worker: one permit may stand for many rows.
            self.news.notify_one();
        }
        taken
    }
}

impl Inverses {
    pub(super) fn send(self: &Arc<Self>, peer: Arc<dyn LeaderPeer>, carry: Arc<Carry>) {
        let queue = {
            let mut peers = self.peers.lock();
            let queue = peers.entry(peer.name().to_owned()).or_insert_with(|| {
                let peer = Mutex::new(Arc::clone(&peer));
                let queue = Arc::new(PeerQueue { peer, waiting: Mutex::default(), news: Notify::new() });
                for _ in 0..self.options.peer_calls.max(1) {
                    self.tasks.spawn(Arc::clone(self).serve_peer(Arc::clone(&queue)));
                }
                queue
            });
            Arc::clone(queue)
        };
        *queue.peer.lock() = peer;
        queue.waiting.lock().push_back(carry);
        queue.news.notify_one();
    }

    async fn serve_peer(self: Arc<Self>, queue: Arc<PeerQueue>) {
        loop {
            let rows = queue.take(self.options.peer_states);
            if rows.is_empty() {
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return,
                    () = queue.news.notified() => continue,
                }
            }
            let peer = Arc::clone(&queue.peer.lock());
            tokio::select! {
                biased;
                // What is under way is applied there or not; the outbox rows stay until the next leader knows.
                () = self.stop.cancelled() => return,
                () = self.call(&*peer, rows) => {}
            }
        }
    }

    async fn call(self: &Arc<Self>, peer: &dyn LeaderPeer, rows: Vec<Arc<Carry>>) {
        let states = rows.iter().map(|carry| state_of(carry)).collect();
        let deadline = Instant::now() + self.options.attempt;
        let result = match timeout_at(deadline, peer.apply_inverse(states, deadline)).await {
            Ok(result) => result,
            Err(_) => Err(Error::unavailable(format!("leader {} did not answer in time", peer.name()))),
        };
        match result {
            Ok(answer) => {
                for carry in rows {
                    self.arrived_there(carry, &answer);
                }
            }
            Err(error) => {
                // Not for want of a leader or of time: one of the rows is at fault, and alone it shows.
                let poison = !error.retryable() && rows.len() > 1;
                for carry in &rows {
                    carry.alone.fetch_or(poison, Ordering::Relaxed);
                }
                for carry in rows {
                    self.failed(carry, &error);
                }
            }
        }
    }

    fn arrived_there(self: &Arc<Self>, carry: Arc<Carry>, answer: &WriteAnswer) {
        let shard = carry.row.inverse.id1.shard();
        let of_shard = |position: &&Position| position.shard == shard;
        let position =
            answer.reply.positions.iter().filter(of_shard).max_by_key(|at| (at.epoch, at.seq)).copied();
        let changes = answer.changes.iter().filter(|change| change.shard == shard).cloned().collect();
        self.arrived(carry, position, changes);
    }
}

fn state_of(carry: &Carry) -> InverseState {
    InverseState { edge: carry.row.inverse, value: carry.row.value.clone(), origin: carry.row.origin }
}
