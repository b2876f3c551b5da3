//! `tao id`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use tao_schema::ids::ObjectId;

use crate::Common;
use crate::cluster::Cluster;
use crate::output::{Output, print, print_json};

/// Prints the id of object number N of a type, as `tao load` gives it to node N of a file:
///
/// shard (16 bits) = xxh3_64(type u16 LE ++ N u32 LE) mod number of shards; then one bit 1, 15 bits of type number, 32
/// bits of N.
#[derive(Args)]
pub struct Id {
    /// The object type.
    #[arg(value_name = "TYPE")]
    otype: String,
    /// The number.
    #[arg(value_name = "N")]
    number: u32,
}

impl Id {
    /// Prints it.
    pub async fn run(self, common: &Common) -> Result<ExitCode> {
        let cluster = Cluster::connect(common).await?;
        let otype = cluster.object_type(&self.otype)?;
        let id = ObjectId::named(otype, self.number, cluster.topology().shards);
        match Output::or_default(common.output) {
            Output::Json => print_json(&json!({"id": id.0, "shard": id.shard().0}))?,
            Output::Table => print(&format!("{id}\n"))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
