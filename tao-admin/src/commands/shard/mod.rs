//! `tao shard`.

mod args;
mod even;
mod metrics;
mod show;
mod watch;

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use tao_admin::shard::{Goal, MoveError, MoveStatus, Mover, Orders, Settings};
use tao_schema::ids::{HostGroupId, ShardId};

use self::args::Tuning;
use self::show::{list_table, plan_text, status_text};
use self::watch::Shown;
use super::region::Servers;
use crate::Common;
use crate::output::{Output, print, print_json, say};

/// Moves shards between host groups, while they are read and written. Talks to the database servers themselves, with the accounts
/// in the topology.
///
/// A move is written down beside the topology, and whoever runs `resume` goes on with it where it is. Exit codes: 0 done; 1 failed
/// or refused, and the shard is served; 2 wrong usage; 3 servers or another worker are in the way: try again.
#[derive(Subcommand)]
pub enum Shard {
    /// Lists moves, the newest first.
    List(List),
    /// Looks at everything that a move depends on, and changes nothing. Exit code 1 if it would be refused.
    Plan(Plan),
    /// Moves a shard: copy, follow, compare, cut over. The way back stays open until it is finalized.
    Move(Move),
    /// Shows how the newest move of a shard is.
    Status(OfShard),
    /// Stops the work on a move, where it is. `resume` goes on.
    Pause(OfShard),
    /// Works on a move in the place of a worker that died or was interrupted, and ends a pause.
    Resume(Work),
    /// Compares every row of both sides, while they are written. Does not cut over.
    Verify(Work),
    /// Orders the cutover of a move that waits for it, and works until it is done.
    Cutover(Work),
    /// Brings a shard back, with everything that was written since.
    Reverse(Work),
    /// Gives up the rows of the side that does not serve: after this there is no way back.
    Finalize(Finalize),
    /// Gives a move up; the shard is served as before, and what was copied is deleted. Not after the shard has moved.
    Abort(Work),
    /// Changes limits of a move while it runs.
    Set(Set),
    /// Plans moves after which all host groups have equally many shards; does them with --yes.
    Rebalance(even::Even),
}

/// `tao shard list`
#[derive(Args)]
pub struct List {
    #[command(flatten)]
    servers: Servers,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_name = "NUMBER")]
    limit: usize,
    /// Also those that are over.
    #[arg(long)]
    all: bool,
}

/// Which shard.
#[derive(Args)]
pub struct OfShard {
    /// The shard's number.
    shard: u16,
    #[command(flatten)]
    servers: Servers,
}

/// `tao shard plan`
#[derive(Args)]
pub struct Plan {
    #[command(flatten)]
    of: OfShard,
    /// The host group that it would go to.
    #[arg(long, value_name = "GROUP")]
    to: u16,
    #[command(flatten)]
    tuning: Tuning,
}

/// `tao shard move`
#[derive(Args)]
pub struct Move {
    #[command(flatten)]
    work: Work,
    /// The host group that it goes to.
    #[arg(long, value_name = "GROUP")]
    to: u16,
    /// Stops at READY and keeps it so, until `tao shard cutover` comes.
    #[arg(long, conflicts_with = "finalize")]
    wait_for_cutover: bool,
    /// Gives up the rows of the old side when the shard has moved: there is no way back.
    #[arg(long)]
    finalize: bool,
    #[command(flatten)]
    tuning: Tuning,
}

/// Which move is worked on, and how.
#[derive(Args)]
pub struct Work {
    #[command(flatten)]
    of: OfShard,
    /// Goes on when the goal is reached: keeps a move ready, or the stream back running, until something else is ordered.
    #[arg(long)]
    stay: bool,
    /// Takes the move over from a worker that may be alive.
    #[arg(long)]
    take_over: bool,
    /// Serves Prometheus metrics at this address, path /metrics.
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
}

/// `tao shard finalize`
#[derive(Args)]
pub struct Finalize {
    #[command(flatten)]
    work: Work,
    /// Even though the stream back is broken.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    tuning: Tuning,
}

/// `tao shard set`
#[derive(Args)]
pub struct Set {
    #[command(flatten)]
    of: OfShard,
    #[command(flatten)]
    tuning: Tuning,
}

impl Shard {
    /// Runs the command.
    pub async fn run(self, common: &Common) -> Result<ExitCode> {
        let output = Output::or_default(common.output);
        match self {
            Self::List(list) => list.run(common, output).await,
            Self::Plan(plan) => plan.run(common, output).await,
            Self::Move(order) => order.run(common, output).await,
            Self::Status(of) => {
                let status = of.mover(common, Settings::default()).await?.status(of.id()).await?;
                show(&status, output)
            }
            Self::Pause(of) => {
                let mover = of.mover(common, Settings::default()).await?;
                mover.order(of.id(), |orders| orders.paused = true).await?;
                show(&mover.status(of.id()).await?, output)
            }
            Self::Resume(work) => work.ordered(common, output, |_| {}).await,
            Self::Verify(work) => work.verify(common, output).await,
            Self::Cutover(work) => work.ordered(common, output, |orders| orders.goal = Goal::There).await,
            Self::Reverse(work) => work.reverse(common, output).await,
            Self::Finalize(order) => order.run(common, output).await,
            Self::Abort(work) => work.ordered(common, output, |orders| orders.goal = Goal::Aborted).await,
            Self::Set(set) => {
                let mover = set.of.mover(common, Settings::default()).await?;
                mover.order(set.of.id(), |orders| set.tuning.apply(&mut orders.options)).await?;
                show(&mover.status(set.of.id()).await?, output)
            }
            Self::Rebalance(even) => even.run(common, output).await,
        }
    }
}

fn show(status: &MoveStatus, output: Output) -> Result<ExitCode> {
    match output {
        Output::Json => print_json(status)?,
        Output::Table => print(&status_text(status))?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn open(servers: &Servers, common: &Common, settings: Settings) -> Result<Mover> {
    let (topology, limits) = servers.read(common).await?;
    Ok(Mover::open(topology, Settings { limits, ..settings }).await?)
}

impl OfShard {
    const fn id(&self) -> ShardId {
        ShardId(self.shard)
    }

    async fn mover(&self, common: &Common, settings: Settings) -> Result<Mover> {
        open(&self.servers, common, settings).await
    }
}

impl List {
    async fn run(self, common: &Common, output: Output) -> Result<ExitCode> {
        let mover = open(&self.servers, common, Settings::default()).await?;
        let mut moves = mover.list(self.limit).await?;
        moves.retain(|one| self.all || !one.over);
        match output {
            Output::Json => print_json(&moves)?,
            Output::Table => print(&list_table(&moves))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Plan {
    async fn run(self, common: &Common, output: Output) -> Result<ExitCode> {
        let mover = self.of.mover(common, Settings::default()).await?;
        let plan = mover.plan(self.of.id(), HostGroupId(self.to), &self.tuning.options()).await?;
        match output {
            Output::Json => print_json(&plan)?,
            Output::Table => print(&plan_text(&plan))?,
        }
        Ok(if plan.accepted().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Move {
    async fn run(self, common: &Common, output: Output) -> Result<ExitCode> {
        let stay = self.work.stay || self.wait_for_cutover;
        let work = Work { stay, ..self.work };
        let mover = work.mover(common).await?;
        let goal = if self.wait_for_cutover { Goal::Ready } else { Goal::There };
        let orders = Orders { goal, finalize: self.finalize, ..Orders::there(self.tuning.options()) };
        let id = mover.begin_with(work.of.id(), HostGroupId(self.to), orders).await?;
        say(&format!("move {id} of shard {} to host group {}", work.of.shard, self.to));
        work.drive(&mover, output).await
    }
}

impl Finalize {
    async fn run(self, common: &Common, output: Output) -> Result<ExitCode> {
        let (force, tuning) = (self.force, self.tuning);
        let change = |orders: &mut Orders| {
            orders.finalize = true;
            orders.force = force;
            tuning.apply(&mut orders.options);
        };
        self.work.ordered(common, output, change).await
    }
}

impl Work {
    async fn mover(&self, common: &Common) -> Result<Mover> {
        let settings = Settings { stay: self.stay, take_over: self.take_over, ..Settings::default() };
        self.of.mover(common, settings).await
    }

    /// Orders something, and works until it is done.
    async fn ordered(
        self,
        common: &Common,
        output: Output,
        change: impl Fn(&mut Orders),
    ) -> Result<ExitCode> {
        let mover = self.mover(common).await?;
        let order = |orders: &mut Orders| {
            orders.paused = false;
            change(orders);
        };
        mover.order(self.of.id(), order).await?;
        self.drive(&mover, output).await
    }

    async fn reverse(self, common: &Common, output: Output) -> Result<ExitCode> {
        let status = self.mover(common).await?.status(self.of.id()).await?;
        if !status.over && status.serving == status.home && status.source == status.home {
            let shard = self.of.shard;
            return Err(MoveError::usage(format!(
                "shard {shard} is {} and did not leave host group {} yet: `tao shard abort {shard}` gives the move up",
                status.state, status.home
            ))
            .into());
        }
        self.ordered(common, output, |orders| orders.goal = Goal::Back).await
    }

    async fn verify(self, common: &Common, output: Output) -> Result<ExitCode> {
        let mover = self.mover(common).await?;
        let shown = Shown::new();
        let work = async { mover.verify(self.of.id(), &shown).await.map(Some) };
        self.finish(&mover, work, &shown, output).await
    }

    /// Works, or watches whoever does.
    async fn drive(&self, mover: &Mover, output: Output) -> Result<ExitCode> {
        let shown = Shown::new();
        let id = self.of.id();
        let work = async {
            if !self.take_over {
                shown.somebody_elses(mover, id).await?;
            }
            let status = mover.status(id).await?;
            if status.over || (status.reached() && !self.stay) {
                return Ok(Some(status));
            }
            mover.run(id, &shown).await.map(Some)
        };
        self.finish(mover, work, &shown, output).await
    }

    async fn finish(
        &self,
        mover: &Mover,
        work: impl Future<Output = Result<Option<MoveStatus>, MoveError>>,
        shown: &Shown,
        output: Output,
    ) -> Result<ExitCode> {
        let _served = match self.metrics_listen {
            Some(listen) => Some(shown.metrics().serve(listen).await?),
            None => None,
        };
        let done = tokio::select! {
            done = work => done,
            _ = tokio::signal::ctrl_c() => Ok(None),
        };
        shown.finish();
        match done? {
            Some(status) => show(&status, output),
            None => {
                mover.let_go(self.of.id()).await;
                let shard = self.of.shard;
                say(&format!("interrupted; the move stays where it is: `tao shard resume {shard}` goes on"));
                Ok(ExitCode::from(3))
            }
        }
    }
}
