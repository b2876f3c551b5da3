//! [`Mover`]: moves as a program orders and does them.

use std::sync::Arc;

use tao_schema::ids::{HostGroupId, ShardId};
use tao_schema::topology::Topology;
use tao_shard_store::moves::{MoveEntry, MoveId, NewMove};

use super::error::{Done, Halt, MoveError};
use super::ground::{Ground, Settings};
use super::lease::{notes_of, open_entry, orders_of};
use super::preflight::Plan;
use super::status::MoveStatus;
use super::step::Watch;
use super::terms::{Goal, MoveOptions, Notes, Orders};
use super::worker::{Until, Worker};

/// How often an order is written anew because somebody else ordered something.
const ORDER_TRIES: usize = 20;

/// Orders moves, works on them, and tells how they are.
pub struct Mover {
    ground: Arc<Ground>,
    settings: Settings,
}

impl Mover {
    /// By a topology that says where the database servers are; the newest that they hold counts.
    ///
    /// # Errors
    /// No server of the first host group answers.
    pub async fn open(file: Topology, settings: Settings) -> Result<Self, MoveError> {
        let ground = Arc::new(Ground::open(file, settings.limits).await?);
        Ok(Self { ground, settings })
    }

    /// The newest topology, looked up now.
    ///
    /// # Errors
    /// No server of the first host group answers.
    pub async fn topology(&self) -> Result<Topology, MoveError> {
        Ok(self.ground.refresh().await?)
    }

    /// Looks at everything that a move depends on, and changes nothing.
    ///
    /// # Errors
    /// There is no such shard or host group, it is there already, or a primary does not answer.
    pub async fn plan(
        &self,
        shard: ShardId,
        to: HostGroupId,
        options: &MoveOptions,
    ) -> Result<Plan, MoveError> {
        options.check()?;
        let source = self.served_by(shard).await?;
        Ok(self.ground.preflight(shard, source, to, options).await?)
    }

    /// Orders a move, if everything is as it must be. Nothing is done before [`Mover::run`].
    ///
    /// # Errors
    /// As [`Mover::plan`]; or the shard has a move that is not over; or what the plan found forbids it.
    pub async fn begin(
        &self,
        shard: ShardId,
        to: HostGroupId,
        goal: Goal,
        options: MoveOptions,
    ) -> Result<MoveId, MoveError> {
        self.begin_with(shard, to, Orders { goal, ..Orders::there(options) }).await
    }

    /// As [`Mover::begin`], with all that can be ordered.
    ///
    /// # Errors
    /// As [`Mover::begin`].
    pub async fn begin_with(
        &self,
        shard: ShardId,
        to: HostGroupId,
        orders: Orders,
    ) -> Result<MoveId, MoveError> {
        orders.options.check()?;
        let source = self.served_by(shard).await?;
        self.ground.check_names(shard, source, to)?;
        let book = self.ground.book().await?;
        let known = book.of_shard(shard).await.map_err(Halt::from)?;
        if let Some(entry) = known.filter(|entry| entry.open) {
            return Err(second(&entry));
        }
        self.ground.preflight(shard, source, to, &orders.options).await?.accepted()?;
        let id = book.next_id(MoveId(0)).await.map_err(Halt::from)?;
        let text = |error: serde_json::Error| MoveError::usage(error.to_string());
        let new = NewMove {
            id,
            shard,
            source,
            target: to,
            orders: serde_json::to_string(&orders).map_err(text)?,
            notes: serde_json::to_string(&Notes::default()).map_err(text)?,
        };
        if book.begin(&new).await.map_err(Halt::from)? {
            return Ok(id);
        }
        Err(second(&open_entry(&book, shard).await?))
    }

    /// Works on a shard's open move until its goal is reached, in the place of a worker that died. Dropped, it stops where it is,
    /// as a crash would.
    ///
    /// # Errors
    /// See [`super::ErrorKind`].
    pub async fn run(&self, shard: ShardId, watch: &dyn Watch) -> Result<MoveStatus, MoveError> {
        self.run_until(shard, watch, Until::Goal).await
    }

    /// Compares the two sides of a shard's open move anew, as far as the move is; does not cut over.
    ///
    /// # Errors
    /// They differ; else as [`Mover::run`].
    pub async fn verify(&self, shard: ShardId, watch: &dyn Watch) -> Result<MoveStatus, MoveError> {
        let book = self.ground.book().await?;
        let now = open_entry(&book, shard).await?.now;
        self.order(shard, |orders| orders.verify_after = now.max(1)).await?;
        self.run_until(shard, watch, Until::Verified).await
    }

    async fn run_until(
        &self,
        shard: ShardId,
        watch: &dyn Watch,
        until: Until,
    ) -> Result<MoveStatus, MoveError> {
        let worker = Worker::take(Arc::clone(&self.ground), &self.settings, watch, shard, until).await?;
        Box::pin(worker.run()).await?;
        self.status(shard).await
    }

    /// Changes what is wanted of a shard's open move. A worker at work goes by it within a second.
    ///
    /// # Errors
    /// The shard has no open move, the options make no sense, or the book does not answer.
    pub async fn order(&self, shard: ShardId, change: impl Fn(&mut Orders)) -> Result<Orders, MoveError> {
        let book = self.ground.book().await?;
        for _ in 0..ORDER_TRIES {
            let entry = open_entry(&book, shard).await?;
            let mut orders = orders_of(&entry)?;
            change(&mut orders);
            orders.options.check()?;
            let text = serde_json::to_string(&orders).map_err(|error| MoveError::usage(error.to_string()))?;
            if book.order(entry.id, entry.version, &text).await.map_err(Halt::from)? {
                return Ok(orders);
            }
        }
        Err(MoveError::unavailable(format!(
            "shard {shard}: others changed its orders {ORDER_TRIES} times in a row"
        )))
    }

    /// How the newest move of a shard is.
    ///
    /// # Errors
    /// There is none, or the book does not answer.
    pub async fn status(&self, shard: ShardId) -> Result<MoveStatus, MoveError> {
        let book = self.ground.book().await?;
        let entry = book.of_shard(shard).await.map_err(Halt::from)?;
        let entry = entry.ok_or_else(|| MoveError::refused(format!("shard {shard} was never moved")))?;
        status(&entry)
    }

    /// The newest moves of all shards.
    ///
    /// # Errors
    /// The book does not answer.
    pub async fn list(&self, limit: usize) -> Result<Vec<MoveStatus>, MoveError> {
        let entries = self.ground.book().await?.all(limit).await.map_err(Halt::from)?;
        entries.iter().map(status).collect()
    }

    /// Gives back a lease of this mover's, so that nobody waits for it: for a worker that was interrupted.
    pub async fn let_go(&self, shard: ShardId) {
        let gone: Done = async {
            let book = self.ground.book().await?;
            let entry = open_entry(&book, shard).await?;
            Ok(book.let_go(entry.id, &self.settings.worker).await?)
        }
        .await;
        if let Err(halt) = gone {
            tracing::debug!(%shard, ?halt, "the lease is left to run out");
        }
    }

    /// Who has a shard, by the topology.
    async fn served_by(&self, shard: ShardId) -> Result<HostGroupId, MoveError> {
        let topology = self.ground.refresh().await?;
        topology.assignment(shard).map(|place| place.host_group).ok_or_else(|| {
            let most = topology.shards - 1;
            MoveError::usage(format!("no shard {shard}: they are 0 to {most}"))
        })
    }
}

fn second(entry: &MoveEntry) -> MoveError {
    MoveError::refused(format!(
        "shard {} is being moved already, to host group {} ({}, move {}): `tao shard status {}`",
        entry.shard,
        entry.at.target,
        entry.at.state.name(),
        entry.id,
        entry.shard
    ))
}

fn status(entry: &MoveEntry) -> Result<MoveStatus, MoveError> {
    Ok(MoveStatus::of(entry, &orders_of(entry)?, &notes_of(entry), entry.now))
}
