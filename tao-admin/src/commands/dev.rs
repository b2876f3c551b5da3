//! `tao dev`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use tao_schema::topology::ReplicationMode;
use tao_server::config::LogConfig;
use tao_server::dev::{DevCluster, DevOptions, StorageChoice};
use tao_server::logging;
use tao_server::node::Signals;
use tao_server::ready::ReadyFile;

use crate::Common;
use crate::output::say;

/// A whole cluster in one command: databases, leaders, followers, in one region or several. For development only: no
/// authentication, and without --data-dir the data is deleted on exit.
#[derive(Args)]
pub struct Dev {
    /// Where the data lives: `auto` uses a MySQL or MariaDB server binary if one is found (TAO_MYSQLD, else the PATH),
    /// else memory.
    #[arg(long, value_enum, default_value_t = StorageArg::Auto)]
    storage: StorageArg,
    /// Logical shards.
    #[arg(long, default_value_t = 64)]
    shards: u32,
    /// Private database servers, each a host group (on memory: parts of it).
    #[arg(long, default_value_t = 2)]
    db_servers: usize,
    /// Uses a MySQL or MariaDB server of yours, mysql://USER:PASSWORD@HOST:PORT/, in place of private ones; may be
    /// repeated, each is a host group. Data goes into its database `tao` and stays there.
    #[arg(long, value_name = "DSN", conflicts_with_all = ["db_servers", "data_dir", "storage"])]
    dsn: Vec<String>,
    /// Regions: each has its own followers, leaders and a full copy of the data; MySQL's replication is between them.
    #[arg(long, default_value_t = 1, value_name = "N")]
    regions: usize,
    /// What each byte takes from one region to another, one way: 60ms, 1s. On gRPC, SQL and replication.
    #[arg(long, default_value = "0ms", value_name = "TIME", value_parser = super::values::duration)]
    wan_latency: Duration,
    /// What an acknowledged write is worth when its region is lost: `async`, what was not replicated yet is lost;
    /// `lossless`, nothing is, and each write waits for another region.
    #[arg(long, value_enum, default_value_t = ModeArg::Async)]
    mode: ModeArg,
    /// The master region of all host groups. Default: host group 1 in the first region, 2 in the second, and so on.
    #[arg(long, value_name = "REGION")]
    master: Option<String>,
    /// Followers of each region.
    #[arg(long, default_value_t = 2)]
    followers: usize,
    /// Leaders of each region.
    #[arg(long, default_value_t = 1)]
    leaders: usize,
    /// Keeps the databases in this folder, to go on with later.
    #[arg(long, value_name = "D")]
    data_dir: Option<PathBuf>,
    /// Writes one line of JSON here when everything is ready, for --cluster. Default: where the other commands look for
    /// the local dev cluster.
    #[arg(long, value_name = "F")]
    ready_file: Option<PathBuf>,
    /// A graph schema file; default: the demo schema.
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// First port to try; others are taken where one is in use. 0: any free ports.
    #[arg(long, default_value_t = 7400, value_name = "PORT")]
    port: u16,
    /// Memory of each node's cache, in MiB.
    #[arg(long, default_value_t = 512, value_name = "MIB")]
    cache_mib: u64,
    /// What the nodes log: error, warn, info, debug, or a filter.
    #[arg(long, default_value = "warn", env = "TAO_LOG_LEVEL")]
    log_level: String,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum StorageArg {
    Auto,
    Mysql,
    Memory,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ModeArg {
    Async,
    Lossless,
}

impl Dev {
    /// Runs until SIGINT or SIGTERM.
    pub async fn run(self, _common: &Common) -> Result<ExitCode> {
        logging::install(&LogConfig { level: self.log_level.clone(), ..LogConfig::default() })?;
        let storage = match self.storage {
            StorageArg::Auto => StorageChoice::Auto,
            StorageArg::Mysql => StorageChoice::MySql,
            StorageArg::Memory => StorageChoice::Memory,
        };
        let options = DevOptions {
            storage,
            shards: self.shards,
            db_servers: self.db_servers,
            dsns: self.dsn,
            regions: self.regions,
            wan_latency: self.wan_latency,
            mode: match self.mode {
                ModeArg::Async => ReplicationMode::Async,
                ModeArg::Lossless => ReplicationMode::Lossless,
            },
            master: self.master,
            followers: self.followers,
            leaders: self.leaders,
            data_dir: self.data_dir,
            schema: self.schema,
            base_port: self.port,
            cache_bytes: self.cache_mib << 20,
        };
        let mut signals = Signals::catch()?;
        let cluster = tokio::select! {
            started = DevCluster::start(options) => started?,
            // What has started goes with the dropped call: servers are killed, folders removed.
            () = signals.next() => {
                say("stopped while starting");
                return Ok(ExitCode::SUCCESS);
            }
        };
        let path = self.ready_file.unwrap_or_else(ReadyFile::default_path);
        if let Err(error) = cluster.ready().write(&path) {
            cluster.stop().await;
            return Err(error).with_context(|| format!("ready file {}", path.display()));
        }
        banner(cluster.ready(), &path);
        signals.next().await;
        say("stopping; once more to stop without waiting for requests and databases");
        // Only our own: another dev cluster may have taken the place meanwhile.
        if ReadyFile::read(&path).is_ok_and(|ready| ready.pid == std::process::id()) {
            let _already_gone = std::fs::remove_file(&path);
        }
        tokio::select! {
            () = cluster.stop() => {}
            () = signals.next() => say("not waiting"),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn banner(ready: &ReadyFile, path: &std::path::Path) {
    say(&format!("ready in {:.1} s: {}, {} shards", ready.ready_seconds, ready.engine, ready.shards));
    for region in &ready.regions {
        if ready.regions.len() > 1 {
            say(&format!("{}:", region.name));
        }
        for (role, nodes) in [("follower", &region.followers), ("leader", &region.leaders)] {
            for node in nodes {
                say(&format!(
                    "  {role:<9} {:<12} grpc {:<16} http://{}/metrics",
                    node.name, node.address, node.admin
                ));
            }
        }
        for database in &region.databases {
            let role = match (ready.regions.len(), database.primary) {
                (1, _) => "",
                (_, true) => "primary",
                (_, false) => "replica",
            };
            let line =
                format!("  database  host group {:<2} {:<16} {role}", database.host_group, database.address);
            say(line.trim_end());
        }
    }
    // The other commands find the default place by themselves.
    let cluster = if path == ReadyFile::default_path() {
        String::new()
    } else {
        format!(" --cluster {}", path.display())
    };
    say("\ntry, in another terminal:");
    for (command, note) in [
        ("object add user name=Ann", "prints its id"),
        ("object add user name=Bob", ""),
        ("assoc add ID1 friend ID2", "both lists, both counts"),
        ("assoc range ID1 friend --explain", "who answered"),
        ("check --deep", "every cached entry and every row, compared"),
    ] {
        let line = format!("  tao{cluster} {command}");
        say(&if note.is_empty() { line } else { format!("{line:<42} # {note}") });
    }
    if let Some(follower) = ready.regions.iter().flat_map(|region| &region.followers).next() {
        say(&format!("  grpcurl -plaintext {} list", follower.address));
    }
    say("\nDEVELOPMENT ONLY: no authentication. Ctrl-C stops everything.");
}
