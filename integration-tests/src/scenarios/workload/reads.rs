//! What users read.

use std::time::Instant;

use rand::Rng as _;
use tao_client::Consistency;
use tao_schema::ids::ObjectId;

use super::user::User;
use super::{COMMENTS, DEADLINE, STRANGERS};

/// Calls of one batch, at most.
const BATCH: u32 = 6;

impl User {
    pub(super) async fn read(&mut self) {
        match self.random.random_range(0..100) {
            0..38 => self.get_object().await,
            38..54 => self.get_edges().await,
            54..66 => self.count().await,
            66..82 => self.range().await,
            82..92 => self.time_range().await,
            _ => self.batch().await,
        }
    }

    pub(super) async fn get_object(&mut self) {
        let id = match self.random.random_range(0..10) {
            0..4 => self.shared.user(self.number),
            4..6 => self.anybody(),
            6..9 => self.any_post(),
            _ => self.allocated.back().copied().unwrap_or(self.shared.user(self.number)),
        };
        let demand = self.demand();
        let name = match demand {
            Consistency::Local | Consistency::AtLeast(_) => "object_get",
            Consistency::Bounded(_) => "object_get_bounded",
            Consistency::Master => "object_get_master",
            Consistency::Critical => "object_get_critical",
        };
        let began = Instant::now();
        let session = self.session.clone();
        let call = session.object_get(id).consistency(demand).timeout(DEADLINE);
        self.done(name, false, began, call.send().await);
    }

    /// A list by chance: short ones and long ones, of both sides of a pair, and one without another side.
    fn list(&mut self) -> (ObjectId, &'static str) {
        match self.random.random_range(0..8) {
            0..2 => (self.shared.user(self.number), "friend"),
            2 => (self.anybody(), "friend"),
            3 => (self.shared.user(self.number), "follows"),
            4 => (self.shared.stranger(self.random.random_range(0..STRANGERS)), "followed_by"),
            5 => (self.anybody(), if self.random.random_bool(0.5) { "answered" } else { "commented_by" }),
            _ => (self.any_post(), "has_comment"),
        }
    }

    pub(super) async fn get_edges(&mut self) {
        let ((id1, atype), demand) = (self.list(), self.demand());
        let ends: Vec<ObjectId> = (0..self.random.random_range(1..5))
            .map(|_| match atype {
                "follows" => self.shared.stranger(self.random.random_range(0..STRANGERS)),
                "has_comment" => self.shared.comment(self.random.random_range(0..COMMENTS)),
                _ => self.anybody(),
            })
            .collect();
        let began = Instant::now();
        let session = self.session.clone();
        let call = session.assoc_get(id1, atype, ends).consistency(demand).timeout(DEADLINE);
        self.done("assoc_get", false, began, call.send().await);
    }

    pub(super) async fn count(&mut self) {
        let ((id1, atype), demand) = (self.list(), self.demand());
        let began = Instant::now();
        let session = self.session.clone();
        let call = session.assoc_count(id1, atype).consistency(demand).timeout(DEADLINE);
        self.done("assoc_count", false, began, call.send().await);
    }

    pub(super) async fn range(&mut self) {
        let ((id1, atype), demand) = (self.list(), self.demand());
        let pos = if self.random.random_bool(0.7) { 0 } else { self.random.random_range(0..60) };
        let limit = self.random.random_range(1..80);
        let began = Instant::now();
        let session = self.session.clone();
        let call =
            session.assoc_range(id1, atype).pos(pos).limit(limit).consistency(demand).timeout(DEADLINE);
        self.done("assoc_range", false, began, call.send().await);
    }

    pub(super) async fn time_range(&mut self) {
        let ((id1, atype), demand) = (self.list(), self.demand());
        let low = self.random.random_range(0..1_000_000);
        let high = self.random.random_range(low..=1_000_000);
        let began = Instant::now();
        let session = self.session.clone();
        let call = session.assoc_time_range(id1, atype).low(low).high(high).limit(50);
        let result = call.consistency(demand).timeout(DEADLINE).send().await;
        self.done("assoc_time_range", false, began, result);
    }

    /// Independent reads that travel together.
    async fn batch(&mut self) {
        let session = self.session.clone();
        let mut batch = session.batch().timeout(DEADLINE);
        for _ in 0..self.random.random_range(2..=BATCH) {
            let (id1, atype) = self.list();
            match self.random.random_range(0..3) {
                0 => batch.add(session.assoc_count(id1, atype)),
                1 => batch.add(session.object_get(id1)),
                _ => batch.add(session.assoc_range(id1, atype).limit(20)),
            }
        }
        let began = Instant::now();
        for result in batch.send().await {
            self.done("batched_read", false, began, result);
        }
    }
}
