//! `tao assoc`.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::json;
use tao_client::{Answered, AssocList, Client, Written};
use tao_schema::graph_schema::AssocTypeDef;
use tao_schema::ids::{ObjectId, Seq};

use super::UsageError;
use super::reading::{ReadArgs, Reader};
use super::values::{fields, fields_json, key_value, written_json};
use crate::Common;
use crate::cluster::Cluster;
use crate::output::{Output, Table, print, print_json};

/// `tao assoc …`
#[derive(Subcommand)]
pub enum Assoc {
    /// Adds an association, or overwrites its time and data; its inverse follows.
    Add(Add),
    /// Deletes an association and its inverse.
    Delete {
        #[command(flatten)]
        edge: EdgeArgs,
        /// Only if the list has this version.
        #[arg(long, value_name = "VERSION")]
        expect: Option<u64>,
    },
    /// Gives an association another type; time and data stay.
    ChangeType {
        #[command(flatten)]
        edge: EdgeArgs,
        /// Its new type.
        #[arg(value_name = "NEW_TYPE")]
        new_type: String,
    },
    /// Prints the associations that end in the given objects.
    Get {
        #[command(flatten)]
        list: ListArgs,
        /// Where they may end.
        #[arg(required = true)]
        id2: Vec<ObjectId>,
        #[command(flatten)]
        bounds: Bounds,
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Prints how many there are.
    Count {
        #[command(flatten)]
        list: ListArgs,
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Prints associations, newest first.
    Range {
        #[command(flatten)]
        list: ListArgs,
        /// How many of the newest to skip.
        #[arg(long, default_value_t = 0)]
        pos: u32,
        /// How many to print.
        #[arg(long, default_value_t = 50)]
        limit: u32,
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Prints associations of a time, newest first.
    TimeRange {
        #[command(flatten)]
        list: ListArgs,
        #[command(flatten)]
        bounds: Bounds,
        /// How many to print.
        #[arg(long, default_value_t = 50)]
        limit: u32,
        #[command(flatten)]
        read: ReadArgs,
    },
}

/// A list.
#[derive(Args)]
pub struct ListArgs {
    /// Where the associations start.
    id1: ObjectId,
    /// Their type.
    #[arg(value_name = "TYPE")]
    atype: String,
}

/// An association.
#[derive(Args)]
pub struct EdgeArgs {
    /// Where it starts.
    id1: ObjectId,
    /// Its type.
    #[arg(value_name = "TYPE")]
    atype: String,
    /// Where it ends.
    id2: ObjectId,
}

/// Time bounds.
#[derive(Args)]
pub struct Bounds {
    /// Newest time that counts, in seconds since 1970.
    #[arg(long, value_name = "TIME")]
    high: Option<u32>,
    /// Oldest time that counts.
    #[arg(long, value_name = "TIME")]
    low: Option<u32>,
}

/// `tao assoc add`
#[derive(Args)]
pub struct Add {
    #[command(flatten)]
    edge: EdgeArgs,
    /// Its fields.
    #[arg(value_name = "NAME=VALUE", value_parser = key_value)]
    fields: Vec<(String, String)>,
    /// Its time, in seconds since 1970; default: now.
    #[arg(long)]
    time: Option<u32>,
    /// Refuse if it exists.
    #[arg(long)]
    create_only: bool,
    /// Only if the list has this version.
    #[arg(long, value_name = "VERSION")]
    expect: Option<u64>,
}

impl Assoc {
    /// Runs the verb.
    pub async fn run(self, common: &Common) -> Result<ExitCode> {
        let cluster = Cluster::connect(common).await?;
        let (client, output) = (cluster.client(), Output::or_default(common.output));
        match self {
            Self::Add(add) => add.run(&cluster, output).await,
            Self::Delete { edge, expect } => {
                let mut call = client.assoc_delete(edge.id1, &edge.atype, edge.id2);
                if let Some(version) = expect {
                    call = call.expected_version(Seq(version));
                }
                show_write(&call.send().await?, output)
            }
            Self::ChangeType { edge, new_type } => {
                let call = client.assoc_change_type(edge.id1, &edge.atype, edge.id2, &new_type);
                show_write(&call.send().await?, output)
            }
            Self::Get { list, id2, bounds, read } => {
                let reader = read.reader(client, list.id1.shard())?;
                let mut call = reader.client().assoc_get(list.id1, &list.atype, id2);
                if let Some(high) = bounds.high {
                    call = call.high(high);
                }
                if let Some(low) = bounds.low {
                    call = call.low(low);
                }
                show_list(&reader, &reader.send(call).await?, output)
            }
            Self::Count { list, read } => count(client, &list, &read, output).await,
            Self::Range { list, pos, limit, read } => {
                let reader = read.reader(client, list.id1.shard())?;
                let call = reader.client().assoc_range(list.id1, &list.atype).pos(pos).limit(limit);
                show_list(&reader, &reader.send(call).await?, output)
            }
            Self::TimeRange { list, bounds, limit, read } => {
                let reader = read.reader(client, list.id1.shard())?;
                let call = reader
                    .client()
                    .assoc_time_range(list.id1, &list.atype)
                    .high(bounds.high.unwrap_or(u32::MAX))
                    .low(bounds.low.unwrap_or(0))
                    .limit(limit);
                show_list(&reader, &reader.send(call).await?, output)
            }
        }
    }
}

async fn count(client: &Client, list: &ListArgs, read: &ReadArgs, output: Output) -> Result<ExitCode> {
    let reader = read.reader(client, list.id1.shard())?;
    let answered = reader.send(reader.client().assoc_count(list.id1, &list.atype)).await?;
    let count = answered.value;
    match output {
        Output::Json => {
            let mut record = json!({"count": count.count, "version": count.version});
            reader.add_to(&mut record, &answered);
            print_json(&record)?;
        }
        Output::Table => {
            reader.say(&answered);
            print(&format!("{}\n", count.count))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show_list(reader: &Reader, answered: &Answered<AssocList>, output: Output) -> Result<ExitCode> {
    let list = &answered.value;
    let mut table = Table::new(&["id2", "time", "fields"]);
    for assoc in list.iter() {
        table.row(vec![json!(assoc.id2), json!(assoc.time), fields_json(&assoc.fields())?]);
    }
    match output {
        Output::Json => {
            let mut record = json!({"version": list.version, "assocs": table.to_json()});
            reader.add_to(&mut record, answered);
            print_json(&record)?;
        }
        Output::Table => {
            reader.say(answered);
            print(&table.to_text())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show_write(written: &Written, output: Output) -> Result<ExitCode> {
    let record = written_json(written);
    match output {
        Output::Json => print_json(&record)?,
        Output::Table => {
            let mut table = Table::new(&["effect", "version", "inverse"]);
            let inverse = if written.inverse_pending { "pending" } else { "applied" };
            table.row(vec![record["effect"].clone(), record["version"].clone(), json!(inverse)]);
            print(&table.to_text())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Add {
    async fn run(self, cluster: &Cluster, output: Output) -> Result<ExitCode> {
        let schema = cluster.schema();
        let def = assoc_type(schema.assoc_type_named(&self.edge.atype), &self.edge.atype)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
        let time = self.time.unwrap_or_else(|| u32::try_from(now.as_secs()).unwrap_or(u32::MAX));
        let mut call = cluster.client().assoc_add(self.edge.id1, &self.edge.atype, self.edge.id2).time(time);
        for (field, value) in fields(&def.fields, &self.fields)? {
            call = call.set(field, value);
        }
        if self.create_only {
            call = call.create_only();
        }
        if let Some(version) = self.expect {
            call = call.expected_version(Seq(version));
        }
        show_write(&call.send().await?, output)
    }
}

fn assoc_type<'a>(found: Option<&'a AssocTypeDef>, name: &str) -> Result<&'a AssocTypeDef> {
    found.ok_or_else(|| UsageError(format!("no association type \"{name}\"; see `tao schema`")).into())
}
