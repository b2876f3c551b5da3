//! `tao shard rebalance`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use tao_admin::shard::{
    Caps, MoveError, MoveStatus, Orders, PlannedMove, Rebalance, Settings, move_all, rebalance,
};
use tao_schema::ids::HostGroupId;

use super::args::Tuning;
use super::open;
use super::watch::Shown;
use crate::Common;
use crate::commands::region::Servers;
use crate::output::{Output, Table, print, print_json, say};

/// `tao shard rebalance`
#[derive(Args)]
pub struct Even {
    #[command(flatten)]
    servers: Servers,
    /// Takes all shards away from this host group.
    #[arg(long, value_name = "GROUP")]
    drain: Option<u16>,
    /// Leaves this host group as it is; may be repeated.
    #[arg(long, value_name = "GROUP")]
    leave: Vec<u16>,
    /// Does the moves; else they are only shown.
    #[arg(long)]
    yes: bool,
    /// Moves at once from or to one host group.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    per_group: usize,
    /// Moves at once, all in all.
    #[arg(long, default_value_t = 2, value_name = "NUMBER")]
    at_once: usize,
    /// Gives up the rows of the old sides.
    #[arg(long)]
    finalize: bool,
    #[command(flatten)]
    tuning: Tuning,
}

impl Even {
    /// Plans, and does it if it was told to.
    pub(super) async fn run(self, common: &Common, output: Output) -> Result<ExitCode> {
        let mover = open(&self.servers, common, Settings::default()).await?;
        let leave: Vec<HostGroupId> = self.leave.iter().copied().map(HostGroupId).collect();
        let plan = rebalance(&mover.topology().await?, self.drain.map(HostGroupId), &leave)?;
        match output {
            Output::Json => print_json(&plan)?,
            Output::Table => print(&rebalance_text(&plan))?,
        }
        if !self.yes {
            say("nothing was done; --yes does it");
            return Ok(ExitCode::SUCCESS);
        }
        let orders = Orders { finalize: self.finalize, ..Orders::there(self.tuning.options()) };
        let caps = Caps { per_group: self.per_group, at_once: self.at_once };
        let shown = Shown::new();
        let told = |one: &PlannedMove, ended: &Result<MoveStatus, MoveError>| {
            let what = match ended {
                Ok(status) => format!("{} in host group {}", status.state, status.serving),
                Err(error) => error.to_string(),
            };
            say(&format!("shard {}: {what}", one.shard));
        };
        let done = tokio::select! {
            done = move_all(&mover, &plan.moves, &orders, caps, &shown, &told) => done,
            _ = tokio::signal::ctrl_c() => {
                Err(MoveError::unavailable("interrupted; the same command goes on, `tao shard list` shows how far it is"))
            }
        };
        shown.finish();
        done?;
        Ok(ExitCode::SUCCESS)
    }
}

fn rebalance_text(plan: &Rebalance) -> String {
    let mut table = Table::new(&["shard", "from", "to"]);
    for one in &plan.moves {
        table.row(vec![one.shard.0.into(), one.from.0.into(), one.to.0.into()]);
    }
    let mut groups = Table::new(&["host_group", "shards", "afterwards"]);
    for (group, before) in &plan.before {
        groups.row(vec![group.0.into(), (*before).into(), plan.after.get(group).copied().into()]);
    }
    format!("{}\n{}", table.to_text(), groups.to_text())
}
