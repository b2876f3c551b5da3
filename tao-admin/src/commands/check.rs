//! `tao check`.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::Common;
use crate::cluster::Cluster;
use crate::output::{Output, print, print_json};

/// Compares every cached entry of every node with the databases of its region. Safe on a live cluster.
#[derive(Args)]
pub struct Check {
    /// Also every count against its list and every edge against its inverse, in the database itself.
    #[arg(long)]
    deep: bool,
}

impl Check {
    /// Runs the check; exit code 1 on any difference.
    pub async fn run(self, common: &Common) -> Result<ExitCode> {
        let cluster = Cluster::connect(common).await?;
        let only = match &common.region {
            None => None,
            Some(name) => {
                Some(cluster.topology().region_named(name).with_context(|| format!("no region {name}"))?)
            }
        };
        let report = crate::check::run(cluster.topology(), cluster.schema(), self.deep, only).await?;
        match Output::or_default(common.output) {
            Output::Json => print_json(&report)?,
            Output::Table => print(&report.to_text())?,
        }
        Ok(if report.difference_count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
