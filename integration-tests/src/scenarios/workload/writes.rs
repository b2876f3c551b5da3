//! What users write.

use std::time::Instant;

use rand::Rng as _;
use tao_client::ErrorCode;
use tao_schema::ids::{ObjectId, Seq};

use super::user::User;
use super::{COMMENTS, DEADLINE, POSTS, STRANGERS};

/// Posts with given ids that a user keeps.
const ALLOCATED: usize = 16;
/// Edges of one atomic write, at most.
const ATOMIC: u32 = 4;

impl User {
    pub(super) async fn write(&mut self) {
        match self.random.random_range(0..100) {
            0..20 => self.update_self().await,
            20..28 => self.add_post().await,
            28..32 => self.delete_post().await,
            32..38 => self.update_if_unchanged().await,
            38..44 => self.allocate().await,
            44..58 => self.befriend().await,
            58..64 => self.part().await,
            64..76 => self.follow().await,
            76..80 => self.unfollow().await,
            80..84 => self.answer().await,
            84..90 => self.retype().await,
            _ => self.atomic().await,
        }
    }

    pub(super) async fn update_self(&mut self) {
        let (me, value, count) = (self.shared.user(self.number), self.value(), self.random.random::<u32>());
        let began = Instant::now();
        let session = self.session.clone();
        let call =
            session.object_update(me, "user").set("bio", value.as_str()).set("reputation", i64::from(count));
        let result = call.timeout(DEADLINE).send().await;
        let missing = result.as_ref().is_err_and(|error| error.code == ErrorCode::NotFound);
        self.done("object_update", true, began, result);
        if missing {
            let began = Instant::now();
            let call =
                session.object_add("user").id(me).set("name", value.as_str()).set("bio", value.as_str());
            self.done("object_add", true, began, call.timeout(DEADLINE).send().await);
        }
    }

    async fn add_post(&mut self) {
        let number = self.random.random_range(0..POSTS);
        let (post, value) = (self.shared.post(self.number, number), self.value());
        let began = Instant::now();
        let session = self.session.clone();
        let call = session.object_add("post").id(post).set("text", value.as_str()).timeout(DEADLINE);
        self.done("object_add", true, began, call.send().await);
    }

    pub(super) async fn delete_post(&mut self) {
        let number = self.random.random_range(0..POSTS);
        let post = self.shared.post(self.number, number);
        self.delete(post).await;
    }

    async fn delete(&self, id: ObjectId) {
        let began = Instant::now();
        let session = self.session.clone();
        self.done("object_delete", true, began, session.object_delete(id).timeout(DEADLINE).send().await);
    }

    /// Reads a post of anybody and writes it if nobody else has meanwhile.
    async fn update_if_unchanged(&mut self) {
        let (post, value) = (self.any_post(), self.value());
        let session = self.session.clone();
        let began = Instant::now();
        let read = session.object_get(post).timeout(DEADLINE).send().await;
        let Some(Some(found)) = self.done("object_get", false, began, read) else { return };
        let began = Instant::now();
        let call = session.object_update(post, "post").set("text", value.as_str()).set("edited", true);
        let call = call.expected_version(found.version).timeout(DEADLINE);
        self.done("object_update_expected", true, began, call.send().await);
    }

    /// A post whose id its shard gives; the oldest of them goes.
    pub(super) async fn allocate(&mut self) {
        let (near, value) = (self.shared.user(self.number), self.value());
        let began = Instant::now();
        let session = self.session.clone();
        let call = session.object_add("post").near(near).set("text", value.as_str()).timeout(DEADLINE);
        if let Some(added) = self.done("object_add_allocated", true, began, call.send().await) {
            self.allocated.push_back(added.id);
        }
        if self.allocated.len() > ALLOCATED
            && let Some(oldest) = self.allocated.pop_front()
        {
            self.delete(oldest).await;
        }
    }

    pub(super) async fn befriend(&mut self) {
        let (me, other, value) = (self.shared.user(self.number), self.anybody(), self.value());
        let (time, create_only) = (self.random.random_range(1..1_000_000), self.random.random_bool(0.2));
        let began = Instant::now();
        let session = self.session.clone();
        let call = session.assoc_add(me, "friend", other).time(time).set("circle", value.as_str());
        let call = if create_only { call.create_only() } else { call };
        self.done("assoc_add", true, began, call.timeout(DEADLINE).send().await);
    }

    pub(super) async fn part(&mut self) {
        let (me, other) = (self.shared.user(self.number), self.anybody());
        let began = Instant::now();
        let session = self.session.clone();
        // From the other end: the order of a pair is the same from both.
        let call = session.assoc_delete(other, "friend", me).timeout(DEADLINE);
        self.done("assoc_delete", true, began, call.send().await);
    }

    /// Long lists, from both ends.
    pub(super) async fn follow(&mut self) {
        let me = self.shared.user(self.number);
        let other = self.shared.stranger(self.random.random_range(0..STRANGERS));
        let time = self.random.random_range(1..1_000_000);
        let from_other_end = self.random.random_bool(0.3);
        let began = Instant::now();
        let session = self.session.clone();
        let call = if from_other_end {
            session.assoc_add(other, "followed_by", me)
        } else {
            session.assoc_add(me, "follows", other)
        };
        self.done("assoc_add", true, began, call.time(time).timeout(DEADLINE).send().await);
    }

    pub(super) async fn unfollow(&mut self) {
        let me = self.shared.user(self.number);
        let other = self.shared.stranger(self.random.random_range(0..STRANGERS));
        let began = Instant::now();
        let session = self.session.clone();
        let call = session.assoc_delete(me, "follows", other).timeout(DEADLINE);
        self.done("assoc_delete", true, began, call.send().await);
    }

    pub(super) async fn answer(&mut self) {
        let (me, other) = (self.shared.user(self.number), self.anybody());
        let time = self.random.random_range(1..1_000_000);
        let began = Instant::now();
        let session = self.session.clone();
        let call = session.assoc_add(me, "answered", other).time(time).timeout(DEADLINE);
        self.done("assoc_add", true, began, call.send().await);
    }

    /// An answer becomes a comment, or a comment an answer: both have an inverse, and it follows.
    pub(super) async fn retype(&mut self) {
        let (me, other) = (self.shared.user(self.number), self.anybody());
        let (from, to) =
            if self.random.random_bool(0.5) { ("answered", "commented") } else { ("commented", "answered") };
        let began = Instant::now();
        let session = self.session.clone();
        let call = session.assoc_change_type(me, from, other, to).timeout(DEADLINE);
        self.done("assoc_change_type", true, began, call.send().await);
    }

    /// A post with comments below it, all in one transaction: whoever sees one of them sees all (I8).
    async fn atomic(&mut self) {
        let (post, value) = (self.any_post(), self.value());
        let time = self.random.random_range(1..1_000_000);
        let session = self.session.clone();
        let mut write = session.atomic();
        let first = self.random.random_range(0..COMMENTS);
        // Different ones: what the same transaction takes back is in no log, and nobody could tell that it was there.
        for number in 0..self.random.random_range(1..=ATOMIC) {
            let comment = self.shared.comment((first + number * COMMENTS / ATOMIC) % COMMENTS);
            if self.random.random_bool(0.25) {
                write.add(session.assoc_delete(post, "has_comment", comment));
            } else {
                write.add(session.assoc_add(post, "has_comment", comment).time(time));
            }
        }
        match self.random.random_range(0..10) {
            0..7 => write.add(session.object_update(post, "post").set("text", value.as_str())),
            // Hardly ever right: then nothing of it may be there.
            7 => write.add(session.object_update(post, "post").set("edited", false).expected_version(Seq(1))),
            _ => {}
        }
        let began = Instant::now();
        let result = write.timeout(DEADLINE).send().await;
        self.done("atomic", true, began, result);
    }
}
