//! `tao schema`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};
use tao_schema::graph_schema::FieldDefs;

use crate::Common;
use crate::cluster::Cluster;
use crate::output::{Output, Table, print, print_json};

/// Shows the types of the cluster's graph schema.
pub async fn run(common: &Common) -> Result<ExitCode> {
    let cluster = Cluster::connect(common).await?;
    let schema = cluster.schema();
    let mut table = Table::new(&["kind", "id", "name", "inverse", "limit", "fields"]);
    for def in schema.object_types() {
        table.row(vec![
            json!("object"),
            json!(def.id),
            json!(def.name),
            Value::Null,
            Value::Null,
            fields(&def.fields),
        ]);
    }
    for def in schema.assoc_types() {
        let inverse = match def.inverse {
            Some(_) if def.symmetric => json!("itself"),
            Some(inverse) => json!(schema.assoc_type(inverse).map(|inverse| inverse.name.clone())),
            None => Value::Null,
        };
        table.row(vec![
            json!("assoc"),
            json!(def.id),
            json!(def.name),
            inverse,
            json!(def.query_limit),
            fields(&def.fields),
        ]);
    }
    match Output::or_default(common.output) {
        Output::Json => print_json(&table.to_json())?,
        Output::Table => print(&table.to_text())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn fields(defs: &FieldDefs) -> Value {
    Value::Object(
        defs.iter().map(|def| (def.name.clone(), json!(format!("{:?}", def.kind).to_lowercase()))).collect(),
    )
}
