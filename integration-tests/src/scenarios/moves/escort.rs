//! A move that is under way while another scenario does something: begun, brought to its end, brought back, and judged (I7).

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};
use tao_admin::shard::Step;
use tao_schema::ids::{HostGroupId, ObjectId, ShardId};

use super::settle::{Command, Way};
use super::sides::{compared, nothing_left, one_owner, seen};
use super::tool::{Halt, Status, Tool, Worker};
use crate::faults::{Paused, Victim};
use crate::history::Judgement;
use crate::scenarios::stage::Stage;

/// A part of a move must have come about so long after everything else was put right.
const LIMIT: Duration = Duration::from_secs(120);
/// The worker stands still for so long, so that something can happen there.
const STANDS: Duration = Duration::from_millis(1_500);
/// A row that no move brought.
const ROW: &str = include_str!("../../../sql/row_without_version.sql");
const ROW_UNDO: &str = include_str!("../../../sql/row_without_version_undo.sql");
/// The strange row's id within its shard: behind everything that is given out.
const STRANGE: u64 = 1 << 46;

/// What happens to the worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MoverFault {
    /// Nothing: other things happen meanwhile.
    None,
    /// kill -9; another one goes on.
    Kill,
    /// SIGSTOP; another one takes over and does everything; then the first one wakes.
    Sleep,
    /// A stranger writes a row to the target before both sides are compared.
    Mislead,
}

/// A move under way.
pub(crate) struct Escort {
    tool: Tool,
    worker: Worker,
    fault: MoverFault,
    asleep: Option<Paused>,
    shard: ShardId,
    from: HostGroupId,
    to: HostGroupId,
    before: Option<u64>,
    way: Way,
}

impl Escort {
    /// Begins to move a shard of `from`, and returns when the worker is at `step`, with the fault done to it. It goes on from there by
    /// itself, if it can.
    ///
    /// # Errors
    /// The worker does not come there.
    pub(crate) async fn begin(
        stage: &mut Stage,
        (from, to): (HostGroupId, HostGroupId),
        step: Step,
        fault: MoverFault,
    ) -> Result<Self> {
        let topology = stage.topology().await?;
        let mut shards = (0..topology.shards).filter_map(|shard| u16::try_from(shard).ok()).map(ShardId);
        let here =
            |shard: &ShardId| topology.assignment(*shard).is_some_and(|place| place.host_group == from);
        let shard = shards.find(here).with_context(|| format!("host group {from} has no shard"))?;
        let mut tool = Tool::new(&stage.cluster);
        let before = tool.status(shard).await?.map(|status| status.id);
        let step = if fault == MoverFault::Mislead { Step::Verifying } else { step };
        let time = (fault != MoverFault::Kill).then_some(STANDS);
        let (number, group) = (shard.to_string(), to.to_string());
        let worker = tool.start(&order(&number, &group), Some(Halt { step, time }))?;
        let way = Way::default();
        let mut escort = Self { tool, worker, fault, asleep: None, shard, from, to, before, way };
        let came = escort.worker.halted(step, LIMIT).await?;
        ensure!(came, "the worker did not come to {}: {}", step.name(), escort.worker.last_words());
        match fault {
            MoverFault::None => {}
            MoverFault::Kill => escort.worker.kill()?,
            MoverFault::Sleep => escort.asleep = Some(Paused::new(Victim::of(escort.worker.pid())?)?),
            MoverFault::Mislead => escort.strange_row(stage, ROW).await?,
        }
        Ok(escort)
    }

    /// Everything else was put right: the move is brought to its end, and the shard back.
    ///
    /// # Errors
    /// It does not come about.
    pub(crate) async fn end(mut self, stage: &mut Stage) -> Result<Judgement> {
        let mut found = Judgement::default();
        let code = if self.asleep.is_some() { None } else { self.worker.end(LIMIT).await? };
        self.way.ended(code, &self.worker.last_words());
        if self.fault == MoverFault::Mislead {
            found.absorb(self.noticed(stage, code).await?);
            self.strange_row(stage, ROW_UNDO).await?;
        }
        let (shard, group) = (self.shard.to_string(), self.to.to_string());
        let there = self.settled(&order(&shard, &group), code).await?;
        if let Some(paused) = self.asleep.take() {
            // It wakes, thinks that the move is its own, and finds that it is not.
            drop(paused);
            let code = self.worker.end(LIMIT).await?;
            self.way.ended(code, &self.worker.last_words());
            found.absorb(seen(code.is_some(), 1, || {
                format!("a worker that was replaced goes on with shard {shard}")
            }));
        }
        found.absorb(one_owner(stage, self.shard).await?);
        if there.over {
            // It was given up, as some faults allow: then the source serves, alone.
            return Ok(found);
        }
        found.absorb(self.equal().await?);
        let code = self.run(&["reverse", &shard, "--take-over"]).await?;
        self.settled(&["reverse"], code).await?;
        found.absorb(self.equal().await?);
        found.absorb(one_owner(stage, self.shard).await?);
        let code = self.run(&["finalize", &shard, "--take-over", "--grace", "0s"]).await?;
        let status = self.settled(&["finalize"], code).await?;
        found.absorb(seen(status.over && status.serving == self.from, 1, || {
            format!("shard {shard} is {} and served by {} after it came back", status.state, status.serving)
        }));
        found.absorb(one_owner(stage, self.shard).await?);
        found.absorb(nothing_left(stage, self.shard, self.to).await?);
        Ok(found)
    }

    async fn run(&mut self, args: &[&str]) -> Result<Option<i32>> {
        let mut worker = self.tool.start(args, None)?;
        let code = worker.end(LIMIT).await?;
        self.way.ended(code, &worker.last_words());
        Ok(code)
    }

    async fn settled(&mut self, args: &[&str], code: Option<i32>) -> Result<Status> {
        let command = Command { shard: self.shard, args, before: self.before, limit: LIMIT };
        self.tool.settle(command, code, &mut self.way).await
    }

    async fn equal(&mut self) -> Result<Judgement> {
        let notes = self.tool.verify(self.shard, LIMIT, &mut self.way).await?.notes;
        Ok(compared(self.shard, notes.rows_compared, notes.rows_different, &notes.differences))
    }

    /// The comparison must have found the strange row, and the shard must not have moved.
    async fn noticed(&self, stage: &mut Stage, code: Option<i32>) -> Result<Judgement> {
        let status = self.tool.status(self.shard).await?.context("a move")?;
        let (different, shard) = (status.notes.rows_different, self.shard);
        let mut found = seen(code == Some(1) && different > 0 && status.serving == self.from, 1, || {
            format!("a strange row of shard {shard} on the target: {} with exit {code:?}", status.state)
        });
        found.absorb(one_owner(stage, self.shard).await?);
        Ok(found)
    }

    /// Past the tier and the mover, on the target's primary.
    async fn strange_row(&self, stage: &Stage, statement: &str) -> Result<()> {
        let dsn = stage.cluster.servers.dsn(stage.primary_index(self.to)?)?;
        let mut server = Conn::new(Opts::from_url(&dsn).context("the DSN of a server")?).await?;
        server.exec_drop(statement, (ObjectId::new(self.shard, STRANGE).0,)).await?;
        Ok(server.disconnect().await?)
    }
}

fn order<'a>(shard: &'a str, group: &'a str) -> [&'a str; 6] {
    ["move", shard, "--to", group, "--grace", "0s"]
}
