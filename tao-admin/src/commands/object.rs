//! `tao object`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};
use tao_client::{Object as StoredObject, Written};
use tao_schema::ids::{ObjectId, Seq, ShardId};

use super::reading::ReadArgs;
use super::values::{fields, fields_json, key_value, written_json};
use crate::Common;
use crate::cluster::Cluster;
use crate::output::{Output, Table, print, print_json, say};

/// `tao object …`
#[derive(Subcommand)]
pub enum Object {
    /// Prints an object; exit code 1 if there is none.
    Get {
        /// Its id.
        id: ObjectId,
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Creates an object and prints it with its id.
    Add(Add),
    /// Changes some fields of an object.
    Update(Update),
    /// Deletes an object. Its associations stay.
    Delete {
        /// Its id.
        id: ObjectId,
        /// Only if it has this version.
        #[arg(long, value_name = "VERSION")]
        expect: Option<u64>,
    },
}

/// `tao object add`
#[derive(Args)]
pub struct Add {
    /// The object's type.
    #[arg(value_name = "TYPE")]
    otype: String,
    /// Its fields.
    #[arg(value_name = "NAME=VALUE", value_parser = key_value)]
    fields: Vec<(String, String)>,
    /// Create exactly this id; refused if it exists.
    #[arg(long, conflicts_with_all = ["near", "shard"])]
    id: Option<ObjectId>,
    /// On the shard of this object.
    #[arg(long, value_name = "ID", conflicts_with = "shard")]
    near: Option<ObjectId>,
    /// On this shard; default: any.
    #[arg(long)]
    shard: Option<ShardId>,
}

/// `tao object update`
#[derive(Args)]
pub struct Update {
    /// The object's id.
    id: ObjectId,
    /// The object's type.
    #[arg(value_name = "TYPE")]
    otype: String,
    /// Fields to set; others stay.
    #[arg(value_name = "NAME=VALUE", value_parser = key_value)]
    fields: Vec<(String, String)>,
    /// A field to unset; may be repeated.
    #[arg(long, value_name = "NAME")]
    clear: Vec<String>,
    /// Only if the object has this version.
    #[arg(long, value_name = "VERSION")]
    expect: Option<u64>,
}

impl Object {
    /// Runs the verb.
    pub async fn run(self, common: &Common) -> Result<ExitCode> {
        let cluster = Cluster::connect(common).await?;
        let output = Output::or_default(common.output);
        match self {
            Self::Get { id, read } => get(&cluster, id, &read, output).await,
            Self::Add(add) => add.run(&cluster, output).await,
            Self::Update(update) => update.run(&cluster, output).await,
            Self::Delete { id, expect } => {
                let mut call = cluster.client().object_delete(id);
                if let Some(version) = expect {
                    call = call.expected_version(Seq(version));
                }
                show_write(id, &call.send().await?, output)
            }
        }
    }
}

async fn get(cluster: &Cluster, id: ObjectId, read: &ReadArgs, output: Output) -> Result<ExitCode> {
    let reader = read.reader(cluster.client(), id.shard())?;
    let answered = reader.send(reader.client().object_get(id)).await?;
    if output == Output::Table {
        reader.say(&answered);
    }
    let Some(object) = &answered.value else {
        match output {
            Output::Json => {
                let mut record = json!({"id": id, "object": Json::Null});
                reader.add_to(&mut record, &answered);
                print_json(&record)?;
            }
            Output::Table => say(&format!("no object {id}")),
        }
        return Ok(ExitCode::FAILURE);
    };
    show(object, |record| reader.add_to(record, &answered), output)
}

fn show(object: &StoredObject, add_to: impl FnOnce(&mut Json), output: Output) -> Result<ExitCode> {
    let fields = fields_json(object.fields())?;
    let otype = object.type_name().map_or_else(|| json!(object.otype), |name| json!(name));
    match output {
        Output::Json => {
            let mut record = json!({
                "id": object.id,
                "type": otype,
                "shard": object.id.shard(),
                "version": object.version,
                "fields": fields,
            });
            add_to(&mut record);
            print_json(&record)?;
        }
        Output::Table => {
            let mut table = Table::new(&["id", "type", "shard", "version", "fields"]);
            let shard = object.id.shard();
            table.row(vec![json!(object.id), otype, json!(shard), json!(object.version), fields]);
            print(&table.to_text())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show_write(id: ObjectId, written: &Written, output: Output) -> Result<ExitCode> {
    let mut record = written_json(written);
    if let Some(map) = record.as_object_mut() {
        map.insert("id".to_owned(), json!(id));
    }
    match output {
        Output::Json => print_json(&record)?,
        Output::Table => {
            let mut table = Table::new(&["id", "effect", "version"]);
            table.row(vec![json!(id), record["effect"].clone(), record["version"].clone()]);
            print(&table.to_text())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Add {
    async fn run(self, cluster: &Cluster, output: Output) -> Result<ExitCode> {
        let otype = cluster.object_type(&self.otype)?;
        let schema = cluster.schema();
        let mut call = cluster.client().object_add(&self.otype);
        if let Some(def) = schema.object_type(otype) {
            for (field, value) in fields(&def.fields, &self.fields)? {
                call = call.set(field, value);
            }
        }
        if let Some(id) = self.id {
            call = call.id(id);
        } else if let Some(near) = self.near {
            call = call.near(near);
        } else if let Some(shard) = self.shard {
            call = call.on_shard(shard);
        }
        let added = call.send().await?;
        show_write(added.id, &added.written, output)
    }
}

impl Update {
    async fn run(self, cluster: &Cluster, output: Output) -> Result<ExitCode> {
        let otype = cluster.object_type(&self.otype)?;
        let schema = cluster.schema();
        let mut call = cluster.client().object_update(self.id, &self.otype);
        if let Some(def) = schema.object_type(otype) {
            for (field, value) in fields(&def.fields, &self.fields)? {
                call = call.set(field, value);
            }
        }
        for name in &self.clear {
            call = call.clear(name.as_str());
        }
        if let Some(version) = self.expect {
            call = call.expected_version(Seq(version));
        }
        show_write(self.id, &call.send().await?, output)
    }
}
