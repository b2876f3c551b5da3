//! `tao load`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::UsageError;
use crate::Common;
use crate::cluster::Cluster;
use crate::load::{Format, LoadReport, Loader, Source};
use crate::output::{Output, Table, print, print_json};

/// Loads an edge list. Node N of the file becomes the object that `tao id TYPE N` names.
#[derive(Args)]
pub struct Load {
    /// Layout of a line: `snap` is `a b`, `snap-temporal` is `a b unix_seconds`.
    #[arg(long, value_enum)]
    format: Format,
    /// The association type that the edges become.
    #[arg(long, value_name = "TYPE")]
    assoc: String,
    /// The object type that the nodes become.
    #[arg(long, value_name = "TYPE", default_value = "user")]
    object_type: String,
    /// Calls at once.
    #[arg(long, default_value_t = 256, value_name = "N")]
    concurrency: usize,
    /// Then reads every list back through the followers, from both ends, and compares it with the file; exit code 1 on
    /// any difference. The lists must have no other edges.
    #[arg(long)]
    verify: bool,
    /// The file, packed with gzip if its name ends in .gz.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Load {
    /// Loads the file and reports.
    pub async fn run(self, common: &Common) -> Result<ExitCode> {
        anyhow::ensure!(
            (1..=4096).contains(&self.concurrency),
            UsageError(format!("--concurrency {}: must be 1 to 4096", self.concurrency))
        );
        // Opened first: a name that is wrong should say so before anything is connected.
        let source = Source::open(&self.file, self.format)?;
        let cluster = Cluster::connect(common).await?;
        let schema = cluster.schema();
        let assoc = schema
            .assoc_type_named(&self.assoc)
            .ok_or_else(|| UsageError(format!("no association type \"{}\"; see `tao schema`", self.assoc)))?;
        let loader = Loader {
            client: cluster.client().clone(),
            assoc: self.assoc.clone(),
            symmetric: assoc.symmetric,
            inverse: assoc.inverse.and_then(|inverse| schema.assoc_type(inverse)).map(|def| def.name.clone()),
            verify: self.verify,
            object: (cluster.object_type(&self.object_type)?, self.object_type.clone()),
            shards: cluster.topology().shards,
            concurrency: self.concurrency,
            timeout: Duration::from_secs_f64(common.timeout.max(30.0)),
        };
        let report = loader.run(source, self.file.display().to_string()).await?;
        match Output::or_default(common.output) {
            Output::Json => print_json(&report)?,
            Output::Table => print(&text(&report))?,
        }
        let different = report.verified.as_ref().map_or(0, |verified| verified.different);
        Ok(if different == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn text(report: &LoadReport) -> String {
    let mut table = Table::new(&["lines", "nodes", "distinct edges", "seconds", "edges/s"]);
    table.row(vec![
        json!(report.lines),
        json!(report.nodes),
        json!(report.distinct_edges),
        json!((report.seconds * 10.0).round() / 10.0),
        json!(report.edges_per_second.round()),
    ]);
    let mut text = table.to_text();
    if let Some(verified) = &report.verified {
        text.push_str(&format!(
            "read back {} lists with {} edges: {} differ\n",
            verified.lists, verified.edges, verified.different
        ));
    }
    text
}
