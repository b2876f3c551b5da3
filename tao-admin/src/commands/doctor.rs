//! `tao doctor`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use tao_schema::topology::Dsn;

use super::UsageError;
use crate::Common;
use crate::doctor::{self, Diagnosis};
use crate::output::{Output, Table, print, print_json, say};
use crate::servers::{self, Server};
use tao_server::translate::server_address;

/// Examines database servers: whether their logs can be followed and their data leaned on, and what to set where not.
///
/// With a DSN: that server alone. Without: all servers of a topology file or of the local dev cluster, and whether they
/// fit together: who replicates from whom, whose histories differ, whose clocks do.
///
/// A primary that has no tables yet gets them, as from the first leader that starts; beside that and a heartbeat nothing
/// is written.
#[derive(Args)]
pub struct Doctor {
    /// mysql://USER:PASSWORD@HOST:PORT/ of one server.
    #[arg(value_name = "DSN", conflicts_with = "topology")]
    dsn: Option<String>,
    /// A topology file with DSNs.
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
}

impl Doctor {
    /// Prints what was found; exit code 1 if any of it is fatal.
    pub async fn run(self, common: &Common) -> Result<ExitCode> {
        let (servers, masters) = match &self.dsn {
            Some(dsn) => {
                let dsn = Dsn::new(dsn.as_str());
                let address = server_address(&dsn);
                (vec![Server { group: 0, region: String::new(), address, dsn }], None)
            }
            None => {
                let file = self.topology.as_deref().or(common.cluster.as_deref());
                let mut servers = servers::known(file)?;
                servers.retain(|server| server.dsn.expose().starts_with("mysql://"));
                if servers.is_empty() {
                    anyhow::bail!(UsageError(
                        "no database server is known: name one, mysql://USER:PASSWORD@HOST:PORT/, or a topology file with \
                         DSNs, --topology FILE"
                            .to_owned()
                    ));
                }
                let masters = doctor::masters(file, &servers).await;
                (servers, Some(masters))
            }
        };
        let diagnosis = doctor::examine(&servers, masters.as_ref()).await;
        show(&diagnosis, servers.len(), Output::or_default(common.output))?;
        let fatal = diagnosis.iter().any(|found| found.finding.fatal);
        Ok(if fatal { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

fn show(diagnosis: &[Diagnosis], servers: usize, output: Output) -> Result<()> {
    let mut table = Table::new(&["server", "host_group", "region", "verdict", "subject", "message"]);
    for Diagnosis { server, finding } in diagnosis {
        let text = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
        table.row(vec![
            json!(server.address),
            if server.group == 0 { Value::Null } else { json!(server.group) },
            text(&server.region),
            json!(if finding.fatal { "fatal" } else { "advice" }),
            json!(finding.subject),
            json!(finding.message),
        ]);
    }
    match output {
        Output::Json => print_json(&table.to_json())?,
        Output::Table if diagnosis.is_empty() => {}
        Output::Table => print(&table.to_text())?,
    }
    let fatal = diagnosis.iter().filter(|found| found.finding.fatal).count();
    say(&format!("{servers} servers examined: {fatal} fatal findings, {} advices", diagnosis.len() - fatal));
    Ok(())
}
